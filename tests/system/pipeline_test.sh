#!/usr/bin/env bash
# Pipelines under mpirun: the bits of one rank, and recorded timelines that keep every rule of their schedule, also in slow motion and
# while experts move. Needs TIMELINE_CHECK beside what lib.sh needs.
. "$(dirname "$0")/lib.sh"
{ head -n 8 tests/data/mixed.jsonl; grep generate_until tests/data/mixed.jsonl | head -n 3; } >"$work/in.jsonl"
"$MOEBIUS" make-model "$work/shared" --family deepseek_v2 --hidden 64 --layers 3 --heads 4 --kv-heads 2 --head-dim 16 --experts 12 --top-k 3 --width 48 \
  --vocab 700 --context 2048 2>"$work/stderr" || fail "make-model: $(cat "$work/stderr")"
job_file=$(job "$work/in.jsonl" "$work/out")

run() {  # run RANKS [--set ...]: leaves the summary in $work/stdout
  local ranks=$1
  shift
  "$MPIRUN" default "$ranks" "$MOEBIUS" run "$job_file" --force-new --set run.timeline=true --set "model.path=$model" "$@" >"$work/stdout" 2>"$work/stderr" ||
    fail "$model, $ranks ranks $*: $(tail -5 "$work/stderr")"
  digest=$(value digest <"$work/stdout")
  [ "$digest" = "${expected:=$digest}" ] || fail "$model, $ranks ranks $*: digest $digest, expected $expected"
}
keeps() {  # keeps RANKS R1 R2 ORDER [--set ...]: in this order, with all its rules
  local ranks=$1 r1=$2 r2=$3 order=$4
  shift 4
  run "$ranks" --set schedule.execution=pipeline --set layout.mode=split --set pipeline.r1="$r1" --set pipeline.r2="$r2" --set pipeline.order="$order" "$@"
  "$TIMELINE_CHECK" "$work/out" "$order" "$r1" >"$work/found" || fail "$model, $ranks ranks, r1 $r1, r2 $r2, $order $*: $(cat "$work/found")"
  echo "$ranks ranks, r1 $r1, r2 $r2, $order $*: $(tail -1 "$work/found")"
}
breaks() {  # breaks ORDER R1 [EDIT]: the check of the last recording sees it
  "$TIMELINE_CHECK" "$work/out" "$@" >"$work/found" && fail "the check does not see $*: $(cat "$work/found")"
  grep -q ' broken; ' "$work/found" || fail "the check of $* says: $(cat "$work/found")"
}

# Shared experts; no shared experts. Prefill and decode in each run; more token parts than rows; several micro-batches by few tokens.
small=(--set limits.max_tokens_in_flight=60 --set limits.segment_tokens=7)
model=$work/shared
run 1
keeps 2 1 1 fused
keeps 2 3 2 asas "${small[@]}"
breaks aass 3
keeps 3 2 40 aass --set layout.attention_ranks=2
keeps 4 4 3 asas --set layout.attention_ranks=2 "${small[@]}"
keeps 4 3 2 aass --set layout.attention_ranks=1 "${small[@]}"
breaks asas 3
for edit in attention shared dispatch expert combine overlap order; do breaks aass 3 $edit; done
"$MOEBIUS" report "$work/out" --trace "$work/trace.json" 2>"$work/stderr" && grep -q '"name":"rows to experts"' "$work/trace.json" || fail "no transfers in the trace: $(cat "$work/stderr")"
grep -q '<th>Communication not hidden</th>' "$work/out/report.html" || fail "the report does not say what communication was not hidden"
"$MOEBIUS" show "$work/out" | grep -q '^communication not hidden: .* % of the loop' || fail "moebius show does not say what communication was not hidden"

# In slow motion: links hold one message at a time. Few rows, since each stage lasts a millisecond.
slow=(--set emulation.device=custom --set emulation.flops=1e15 --set emulation.bytes_per_s=1e15 --set emulation.expert_overhead_us=20
  --set emulation.attention_overhead_us=80 --set emulation.link_latency_us=4 --set emulation.dilation=20)
keeps 3 2 2 asas --set layout.attention_ranks=2 "${slow[@]}"
breaks asas 2 link

# What the solver chooses for each mini-batch, which are of other lengths, is kept to its end.
device=(--set emulation.device=custom --set emulation.flops=1e12 --set emulation.bytes_per_s=1e12 --set emulation.expert_overhead_us=2
  --set emulation.attention_overhead_us=5 --set emulation.link_bytes_per_s=2e8 --set emulation.link_latency_us=1 --set emulation.dilation=20)
run 3 --set schedule.execution=pipeline --set layout.attention_ranks=2 "${small[@]}" "${device[@]}"
"$TIMELINE_CHECK" "$work/out" auto 0 >"$work/found" || fail "solver: $(cat "$work/found")"
grep -qE 'cut in ([2-9]|[1-9][0-9]+) ways' "$work/found" || fail "all mini-batches were cut alike: $(cat "$work/found")"
echo "as the solver chooses: $(tail -1 "$work/found")"
for edit in attention shared order; do breaks auto 0 $edit; done

# While experts move, and where rows travel.
keeps 4 2 2 asas --set layout.attention_ranks=1 --set rebalance.interval_s=0.002 --set rebalance.force=true
[ "$(value generations <"$work/stdout")" -gt 0 ] || fail "no expert moved"
export MOEBIUS_SHARED_MEMORY=off
keeps 3 2 3 aass --set layout.attention_ranks=1 "${small[@]}"
unset MOEBIUS_SHARED_MEMORY

model=inputs/models/tiny
expected=
run 1
keeps 3 3 4 asas --set layout.attention_ranks=2 "${small[@]}"
finish
