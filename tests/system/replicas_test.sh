#!/usr/bin/env bash
# Replicas and their routers from the command line: the digest stays, and at 1.5 replicas the greedy and the exact router activate
# at least a fifth fewer experts on the busiest rank than dealing rows out evenly (ALGORITHMS: METRO).
. "$(dirname "$0")/lib.sh"
head -14 tests/data/mixed.jsonl >"$work/some.jsonl"
job_file=$(job "$work/some.jsonl" "$work/out")

run() {  # run [--set ...]: leaves the summary in $work/stdout
  "$MPIRUN" default 2 "$MOEBIUS" run "$job_file" --force-new --set layout.mode=colocated --set limits.micro_batch_tokens=8 \
    --set limits.segment_tokens=4 --set limits.max_tokens_in_flight=32 "$@" >"$work/stdout" 2>"$work/stderr" || fail "$*: $(tail -5 "$work/stderr")"
  [ "$(value conserved <"$work/stdout")" = true ] || fail "$*: rows sent, computed and received differ"
}
sum_of() { h5dump -y -d "$1" "$work/out/results.h5" | sed -n '/DATA {/,/}/p' | grep -oE '[0-9]+' | awk '{ sum += $1 } END { print sum }'; }
run --set placement.record_trace=true --set output.path="$work/trace"
expected=$(value digest <"$work/stdout")
declare -A most
for router in even metro fewest_first exact; do
  run --set placement.planner=eplb --set placement.trace="$work/trace" --set replicas.ratio=1.5 --set replicas.router=$router --set replicas.knee_rows=1e9
  [ "$(value digest <"$work/stdout")" = "$expected" ] || fail "$router: digest $(value digest <"$work/stdout"), expected $expected"
  most[$router]=$(value activated_max <"$work/stdout")
done
for router in metro exact; do
  awk -v a="${most[$router]}" -v b="${most[even]}" 'BEGIN { exit !(a <= 0.8 * b) }' || fail "$router activates ${most[$router]}, even ${most[even]}"
done
# In lock-step the choice hangs on the rows of all ranks.
for router in even metro; do
  run --set placement.planner=eplb --set placement.trace="$work/trace" --set replicas.ratio=1.5 --set replicas.router=$router --set replicas.knee_rows=1e9 \
    --set schedule.execution=lockstep
  [ "$(value digest <"$work/stdout")" = "$expected" ] || fail "lock-step, $router: digest $(value digest <"$work/stdout"), expected $expected"
  most[$router]=$(value activated_max <"$work/stdout")
  # One rank counts for all: what it counted are the rows that all ranks computed.
  [ "$(sum_of /experts/activation/rows)" = "$(sum_of /experts/load)" ] ||
    fail "lock-step, $router: counted $(sum_of /experts/activation/rows) rows, computed $(sum_of /experts/load)"
done
awk -v a="${most[metro]}" -v b="${most[even]}" 'BEGIN { exit !(a <= 0.8 * b) }' || fail "lock-step: metro activates ${most[metro]}, even ${most[even]}"
run --set placement.planner=eplb --set placement.trace="$work/trace" --set replicas.ratio=1.5 --set replicas.router=metro --set replicas.knee_rows=0
[ "$(value even_share <"$work/stdout")" = 1.0000 ] || fail "above the knee rows are not dealt out"
h5dump -d /experts/activation/even_micro_batches "$work/out/results.h5" | grep -q '(0): [1-9]' || fail "the results do not count micro-batches"
finish
