#!/usr/bin/env bash
# What runs record of their own course: series and timeline agree with the timing, whatever the layout and the schedule.
. "$(dirname "$0")/lib.sh"
job_file=$(job tests/data/mixed.jsonl "$work/out")
prefix=()
expected=

# check RANKS (with | without) [--set ...]
check() {
  local ranks=$1 timeline=$2 digest
  shift 2
  "$MPIRUN" default "$ranks" "${prefix[@]}" "$MOEBIUS" run "$job_file" --force-new "$@" >"$work/stdout" 2>"$work/stderr" || fail "$*: $(tail -5 "$work/stderr")"
  "$RECORDING_CHECK" "$work/out" "$timeline" >"$work/found" || fail "$ranks ranks $*: $(head -5 "$work/found")"
  digest=$(value digest <"$work/stdout")
  [ "$digest" = "${expected:=$digest}" ] || fail "$ranks ranks $*: digest $digest, expected $expected"
}
check 2 without --set layout.mode=colocated
check 1 with --set run.timeline=true
check 2 with --set run.timeline=true --set layout.mode=colocated
check 3 with --set run.timeline=true --set layout.mode=split
check 2 with --set run.timeline=true --set schedule.execution=lockstep

# The report of a real run: every figure, no script, no address, and the input's texts as texts.
cat tests/data/mixed.jsonl >"$work/input.jsonl"
echo '{"custom_id": "<script>alert(1)</script>", "kind": "no_such_kind"}' >>"$work/input.jsonl"
"$MPIRUN" default 2 "$MOEBIUS" run "$(job "$work/input.jsonl" "$work/a<b")" --set run.timeline=true --set layout.mode=colocated --set placement.emulated_slowdown=[1,2] >"$work/stdout" 2>"$work/stderr" ||
  fail "the run to report on: $(tail -3 "$work/stderr")"
"$MOEBIUS" report "$work/a<b" -o "$work/page.html" --trace "$work/trace.json" 2>"$work/stderr" || fail "report: $(cat "$work/stderr")"
for id in facts phases throughput queues course timeline experts rank-load activation rebalance; do
  grep -q "<section id=\"$id\"" "$work/page.html" || fail "the report has no $id"
done
for never in '<script' http NaN; do grep -q "$never" "$work/page.html" && fail "the report holds $never"; done
grep -q '&lt;script&gt;alert(1)' "$work/page.html" || fail "the report does not name the row that failed"
grep -q '<strong>Emulated: expert ranks slowed by the factors 1 2' "$work/page.html" || fail "the report does not say emulated"
[ "$(grep -c '"ph":"X"' "$work/trace.json")" -gt 1000 ] || fail "the trace is short"
"$MOEBIUS" report "$work/a<b" 2>/dev/null && [ -s "$work/a<b/report.html" ] || fail "no report in the folder"
rm "$work/a<b/results.h5"
code=0
"$MOEBIUS" report "$work/a<b" 2>"$work/stderr" || code=$?
[ $code -eq 2 ] && grep -q 'has not ended' "$work/stderr" || fail "report on an unfinished run ends with $code: $(cat "$work/stderr")"

prefix=(env MOEBIUS_RANKS_PER_NODE=1)  # each rank has its own origin
check 2 with --set run.timeline=true --set layout.mode=split
finish
