#!/usr/bin/env bash
# moebius plan; a job that follows its plan; pipelines that the solver cuts; predictions beside what was measured; measured costs.
. "$(dirname "$0")/lib.sh"
head -n 24 inputs/data/endings.jsonl >"$work/in.jsonl"
for length in 3 40 90; do  # mini-batches of other lengths want other plans
  for i in 1 2 3; do
    printf '{"custom_id": "g%s-%s", "kind": "generate_until", "context": [%s], "until": [], "max_gen_toks": 6}\n' $length $i "$(seq -s, 5 $((length + 5)))"
  done
done >>"$work/in.jsonl"
job_file=$(job "$work/in.jsonl" "$work/out")

plan() { "$MOEBIUS" plan "$job_file" "$@" >"$work/plan" 2>"$work/plan-errors"; }
run() {  # run RANKS [--set ...]: leaves the summary in $work/stdout
  local ranks=$1
  shift
  "$MPIRUN" default "$ranks" "$MOEBIUS" run "$job_file" --force-new "$@" >"$work/stdout" 2>"$work/stderr" || fail "$*: $(tail -5 "$work/stderr")"
  [ "$(value conserved <"$work/stdout")" = true ] || fail "$*: rows sent, computed and received differ"
}
digest() { value digest <"$work/stdout"; }
attribute() { h5dump -a "$1" "$work/out/results.h5" | sed -n 's/.*(0): //p'; }
number() { h5dump -y -d "$1" "$work/out/results.h5" | sed -n '/DATA {/,/}/p' | sed -nE 's/^ *([-0-9.e+]+)$/\1/p'; }
run 1
expected=$(digest)

# The plan says all there is to say, and nothing is loaded: the checkpoint may have no weights.
mkdir "$work/bare" && cp inputs/models/tiny/config.json "$work/bare"
plan --ranks 4 --set model.path="$work/bare" || fail "plan: $(cat "$work/plan-errors")"
for word in 'replicate ' 'lockstep ' 'async ' 'async split' 'ping-pong' 'FinDEP' 'expert weights' 'KV cache' 'rings' 'expert queues' '^Use layout.mode = ' \
  '^With links ten times as fast' '^With 8 ranks'; do
  grep -q -- "$word" "$work/plan" || fail "plan does not say $word: $(cat "$work/plan")"
done
plan --ranks 4 --json || fail "plan --json: $(cat "$work/plan-errors")"
[ "$(wc -l <"$work/plan")" -eq 1 ] && grep -q '^{"ranks": 4, .*"way": "FinDEP".*"r1": .*"recommendation": "Use .*]}$' "$work/plan" || fail "plan --json: $(cat "$work/plan")"

# What fits in no way is refused with the numbers, and enough ranks are named.
code=0
plan --ranks 4 --set emulation.device=h100 --set emulation.model=deepseek-v3 --prompt-tokens 1024 || code=$?
[ $code -eq 72 ] || fail "a plan that does not fit: exit code $code"
grep -q 'DeepSeek-V3 does not fit on 4 ranks .*h100 gives 80.00 GiB each.*expert weights.*use [0-9]* such ranks or more' "$work/plan-errors" || fail "$(cat "$work/plan-errors")"
enough=$(sed -nE 's/.*use ([0-9]+) such ranks.*/\1/p' "$work/plan-errors")
plan --ranks "$enough" --set emulation.device=h100 --set emulation.model=deepseek-v3 --prompt-tokens 1024 || fail "$enough ranks are not enough: $(cat "$work/plan-errors")"

# layout.mode = auto follows the plan, says so, and gives the same bits.
run 2 --set layout.mode=auto
[ "$(digest)" = "$expected" ] || fail "auto: digest $(digest), expected $expected"
grep -q '^plan: Use layout.mode = ' "$work/stderr" || fail "auto does not say what it took: $(cat "$work/stderr")"
attribute job_toml | grep -q 'auto' && attribute job_toml | grep -q 'mode = \\"auto' && fail "the results do not say which layout it was"
run 3 --set layout.mode=auto --set schedule.execution=pipeline
[ "$(digest)" = "$expected" ] || fail "auto, pipeline: digest $(digest), expected $expected"
attribute rank_layout | grep -q split || fail "auto, pipeline: $(attribute rank_layout)"
code=0
MOEBIUS_MEMORY_LIMIT=1000000 "$MPIRUN" default 2 "$MOEBIUS" run "$job_file" --force-new --set layout.mode=auto >/dev/null 2>"$work/stderr" || code=$?
[ $code -eq 72 ] && grep -q 'does not fit on 2 ranks' "$work/stderr" || fail "auto without memory: exit code $code, $(cat "$work/stderr")"

# The solver cuts mini-batches of other lengths in other ways, and the bits stay.
device=(--set emulation.device=custom --set emulation.flops=1e12 --set emulation.bytes_per_s=1e12 --set emulation.expert_overhead_us=2
  --set emulation.attention_overhead_us=5 --set emulation.link_bytes_per_s=2e8 --set emulation.link_latency_us=1 --set emulation.dilation=60)
run 3 "${device[@]}" --set schedule.execution=pipeline --set layout.attention_ranks=1 --set limits.segment_tokens=8
[ "$(digest)" = "$expected" ] || fail "solver: digest $(digest), expected $expected"
[ "$(attribute pipeline_choices | grep -o 'r1 ' | wc -l)" -ge 2 ] || fail "all mini-batches were cut alike: $(attribute pipeline_choices)"

# Predicted beside measured.
attribute prediction | grep -q 'FinDEP (r1 .*on 1:2 ranks' || fail "prediction: $(attribute prediction)"
grep -q '^predicted: ' "$work/stderr" || fail "the summary has no prediction: $(cat "$work/stderr")"
for name in seconds measured_seconds tokens measured_tokens layer_seconds measured_layer_seconds; do
  awk -v n="$(number /predicted/$name)" 'BEGIN { exit !(n > 0) }' || fail "/predicted/$name is $(number /predicted/$name)"
done
run 3 --set schedule.execution=lockstep --set layout.mode=split --set layout.attention_ranks=1
attribute prediction | grep -q 'lockstep on 1:2 ranks' || fail "prediction of lock-step on separate ranks: $(attribute prediction)"
run 2 --set schedule.execution=lockstep --set layout.mode=colocated --set capacity.method=drop
attribute prediction | grep -q 'lockstep on 2:2 ranks' || fail "prediction with a capacity: $(attribute prediction)"
"$MOEBIUS" report "$work/out" --output "$work/report.html" >/dev/null 2>&1 || fail "report"
grep -q 'Predicted' "$work/report.html" || fail "the report does not compare prediction and measurement"

# Costs are measured, and plans, runs and slow motion count with them.
"$MPIRUN" default 2 "$MOEBIUS" profile "$job_file" --repeats 5 --out "$work/costs.json" --html "$work/costs.html" >"$work/stdout" 2>"$work/stderr" || fail "profile: $(cat "$work/stderr")"
grep -q '^attention .* x rows' "$work/stdout" && grep -q '^link in a node .* x bytes' "$work/stdout" || fail "profile shows no costs: $(cat "$work/stdout")"
grep -q '<svg' "$work/costs.html" || fail "profile drew nothing"
plan --ranks 2 --profile "$work/costs.json" || fail "plan --profile: $(cat "$work/plan-errors")"
grep -q "this machine as in $work/costs.json" "$work/plan" || fail "plan does not say whose times it has: $(cat "$work/plan")"
run 2 --set layout.mode=colocated --set plan.profile="$work/costs.json" --set emulation.device=profile --set emulation.dilation=3
[ "$(digest)" = "$expected" ] || fail "slow motion of this machine: digest $(digest), expected $expected"
finish
