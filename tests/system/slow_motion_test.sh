#!/usr/bin/env bash
# Slow motion: the bits of real time, stages that last as long as the model says, refusals, and a run that must not count.
. "$(dirname "$0")/lib.sh"
head -n 12 inputs/data/endings.jsonl >"$work/in.jsonl"
job_file=$(job "$work/in.jsonl" "$work/out")

run() {  # run RANKS [--set ...]: leaves the summary in $work/stdout
  local ranks=$1
  shift
  "$MPIRUN" default "$ranks" "$MOEBIUS" run "$job_file" --force-new "$@" >"$work/stdout" 2>"$work/stderr" || fail "$*: $(tail -5 "$work/stderr")"
  [ "$(value conserved <"$work/stdout")" = true ] || fail "$*: rows sent, computed and received differ"
}
digest() { value digest <"$work/stdout"; }
column() { h5dump -y -w 1 -d "$1" "$work/out/results.h5" | sed '1,/DATA {/d' | sed -nE 's/^ *"?([-a-z_0-9.e]+).*/\1/p'; }
attribute() { h5dump -a "$1" "$work/out/results.h5" | sed -n 's/.*(0): //p'; }

run 2
expected=$(digest)
[ "$(attribute emulation)" = '"none"' ] && [ "$(attribute emulation_valid)" = '"real time"' ] || fail "a run in real time says that it was emulated"

# A device on which an expert call lasts 1 ms and hardly anything else takes time, fifty times slower; rank 1 slowed.
device=(--set emulation.device=custom --set emulation.flops=1e15 --set emulation.bytes_per_s=1e15 --set emulation.expert_overhead_us=40
  --set emulation.attention_overhead_us=80 --set emulation.link_latency_us=4 --set emulation.dilation=50)
for execution in async lockstep; do
  run 2 "${device[@]}" --set schedule.execution=$execution --set layout.mode=colocated --set placement.emulated_slowdown=[1,2]
  [ "$(digest)" = "$expected" ] || fail "$execution: digest $(digest), expected $expected"
  grep -q '^emulated: .* s of the device' "$work/stderr" || fail "$execution: the summary does not say emulated: $(cat "$work/stderr")"
  attribute emulation | grep -q 'custom (1000 TFLOP/s.*dilation 50' || fail "$execution: the results do not name the device: $(attribute emulation)"
  attribute emulation_valid | grep -q '"yes"\|"no' || fail "$execution: the results do not say whether they count"
done
"$MOEBIUS" show "$work/out" | grep -q '^emulated: .* tokens/s; valid: ' || fail "moebius show does not say that the results were emulated"
run 4 "${device[@]}" --set emulation.dilation=5
[ "$(digest)" = "$expected" ] || fail "split: digest $(digest), expected $expected"

# Stage times of a fast and a slow rank, also where others have the cores: where each expert call is a stage, those of the phase "expert" over its calls are
# 40 us x 50 x slowdown; and with grouped calls and in lock-step, phases that compute have together what the models gave the stages.
timing() { paste <(column /ranks/timing/phase) <(column /ranks/timing/rank) <(column /ranks/timing/seconds) <(column /ranks/timing/calls); }
slowed=("${device[@]}" --set layout.mode=colocated --set placement.emulated_slowdown=[1,2])
run 2 "${slowed[@]}" --set schedule.group_expert_calls=false
timing | awk '$1 == "expert" { wanted = 2e-3 * ($2 + 1); got = $3 / $4; n += 1; if (got < 0.999 * wanted || got > 1.001 * wanted) { print "rank " $2 ": a call lasts " got " s, not " wanted; bad = 1 } }
              END { if (n != 2) print n " ranks"; exit bad || n != 2 }' || fail "expert calls do not last as long as the model says"
for execution in async lockstep; do
  run 2 "${slowed[@]}" --set schedule.execution=$execution
  column /emulation/ranks/modelled_s >"$work/modelled"
  timing | awk 'FNR == NR { modelled[NR - 1] = $1; next }
                $1 ~ /^(attention|router|expert|shared_experts|combine|lm_head)$/ { got[$2] += $3 }
                END { for (r = 0; r < 2; r++) if (!(got[r] > 0.999 * modelled[r] && got[r] < 1.001 * modelled[r])) { print "rank " r ": stages of " got[r] " s, not " modelled[r]; bad = 1 }
                      exit bad }' "$work/modelled" - || fail "$execution: stages do not last as long as the model says"
done

# Too little dilation: real work takes most of the time.
run 2 "${device[@]}" --set emulation.dilation=1 --set emulation.expert_overhead_us=1 --set emulation.attention_overhead_us=1
attribute emulation_valid | grep -q '^"no (' || fail "a run that computed all the time counts: $(attribute emulation_valid)"
grep -q '"emulation_valid":false' "$work/stdout" || fail "the summary counts it: $(cat "$work/stdout")"
grep -q 'shortest stage lasts' "$work/stderr" || fail "no advice for short stages: $(cat "$work/stderr")"

refused() {  # refused TEXT [--set ...]
  local text=$1 code=0
  shift
  "$MPIRUN" default 2 "$MOEBIUS" run "$job_file" --force-new "$@" >"$work/stdout" 2>"$work/stderr" || code=$?
  [ $code -eq 2 ] || fail "$*: exit code $code"
  grep -q "$text" "$work/stderr" || fail "$*: $(cat "$work/stderr")"
}
refused 'does not go with the checkpoint (it has 32 layers' --set emulation.device=h100 --set emulation.model=mixtral-8x7b
refused 'it must be "none" or "h100"' --set emulation.device=h200
refused 'it must be "own" or "mixtral-8x7b"' --set emulation.model=gpt
refused 'a number from 1 to' --set emulation.dilation=0.5
finish
