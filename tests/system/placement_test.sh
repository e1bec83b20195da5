#!/usr/bin/env bash
# Traces, planners, placement files and profiles from the command line; the digest stays that of the linear placement.
. "$(dirname "$0")/lib.sh"
job_file=$(job tests/data/mixed.jsonl "$work/out")

run() {  # run RANKS [--set ...]: prints the digest
  local ranks=$1
  shift
  "$MPIRUN" default "$ranks" "$MOEBIUS" run "$job_file" --force-new "$@" >"$work/stdout" 2>"$work/stderr" || fail "$*: $(tail -5 "$work/stderr")"
  [ "$(value conserved <"$work/stdout")" = true ] || fail "$*: rows sent, computed and received differ"
  value digest <"$work/stdout"
}
same() {  # same RANKS [--set ...]
  local digest
  digest=$(run "$@")
  [ "$digest" = "$expected" ] || fail "$*: digest $digest, expected $expected"
}

expected=$(run 2 --set placement.record_trace=true --set output.path="$work/trace" --set layout.mode=colocated)
for planner in linear round_robin eplb eplb_strict speed_lpt trace_lpt gem; do
  same 2 --set layout.mode=colocated --set placement.planner=$planner --set placement.trace="$work/trace" --set placement.emulated_slowdown=[1,1.5]
done
[ "$(h5dump -a emulated_slowdown "$work/out/results.h5" | sed -n 's/.*(0): //p')" = '"1 1.5"' ] || fail "the results do not name the slowdown"
h5dump -a expert_placement "$work/out/results.h5" | grep -q 'gem (GEM-style, reconstructed)' || fail "the results do not name the planner"
grep -q '"emulated_slowdown":\[1,1.5\]' "$work/stdout" || fail "the summary does not name the slowdown: $(cat "$work/stdout")"

# A rank that is slowed takes as much longer for a row: seconds over rows of the phase "expert" of both ranks. Other programs may take the
# core of the other one away.
column() { h5dump -y -w 1 -d "/ranks/timing/$1" "$work/out/results.h5" | sed '1,/DATA {/d' | sed -nE 's/^ *"?([-a-z_0-9.e]+).*/\1/p'; }
for attempt in 1 2 3 4; do
  same 2 --set layout.mode=colocated --set placement.emulated_slowdown=[1,30]
  paste <(column phase) <(column rank) <(column seconds) <(column rows) |
    awk '$1 == "expert" { per_row[$2] = $3 / $4 } END { exit !(per_row[1] > 8 * per_row[0]) }' && break
  [ $attempt -lt 4 ] || fail "the slowed rank is not slower"
done

"$MPIRUN" default 2 "$MOEBIUS" profile "$job_file" --set layout.mode=colocated --repeats 3 --out "$work/speeds.json" >"$work/stdout" ||
  fail "profile failed"
grep -q 'knee' "$work/stdout" || fail "profile prints no table"
"$MOEBIUS" place "$work/trace" --expert-ranks 2 --set placement.profile="$work/speeds.json" --set placement.planner=gem --out "$work/gem.json" >"$work/stdout" ||
  fail "place failed"
for planner in linear round_robin eplb speed_lpt trace_lpt 'gem (GEM-style, reconstructed)'; do
  grep -q "^$planner  *[0-9]" "$work/stdout" || fail "place does not compare $planner: $(cat "$work/stdout")"
done
same 2 --set layout.mode=colocated --set placement.file="$work/gem.json"
h5dump -d /experts/placement -y -w 0 "$work/out/results.h5" | sed '1,/DATA {/d' | grep -o '[0-9-]*,' | tr -d ' ,' | head -8 >"$work/in_results"
tr ',[]{} ' '\n' <"$work/gem.json" | grep -E '^[0-9]+$' | sed -n '3,10p' >"$work/in_file"
cmp "$work/in_results" "$work/in_file" || fail "the placement in the results is not that of the file"

code=0
"$MPIRUN" default 3 "$MOEBIUS" run "$job_file" --force-new --set layout.mode=colocated --set placement.file="$work/gem.json" >/dev/null 2>"$work/stderr" || code=$?
[ $code -eq 2 ] || fail "a placement of another number of ranks ends with $code"
[ "$(grep -c 'is of another job' "$work/stderr")" -eq 1 ] || fail "not one message: $(cat "$work/stderr")"
finish
