#!/usr/bin/env bash
# The promise of the project: the digest over ids, tokens and log-prob bits is the same for every
# rank count, split, scheduler, token budget and input order. Use: invariance_test.sh COMPUTE
. "$(dirname "$0")/lib.sh"
compute=$1
input=tests/data/mixed.jsonl
job_file=$(job "$input" "$work/out")
expected=
runs=0
prefix=()   # put before the program: environment of its ranks

check() {  # check RANKS [--set ...]
  local ranks=$1 digest
  shift
  if ! "$MPIRUN" default "$ranks" "${prefix[@]}" "$MOEBIUS" run "$job_file" --force-new --set "model.compute=$compute" "$@" \
    >"$work/stdout" 2>"$work/stderr"; then
    fail "$ranks ranks, $*: $(tail -20 "$work/stderr")"
    return
  fi
  digest=$(value digest <"$work/stdout")
  [ "$(value conserved <"$work/stdout")" = true ] || fail "$ranks ranks, $*: rows sent, computed and received differ"
  runs=$((runs + 1))
  if [ -z "$expected" ]; then
    expected=$digest
    [ ${#digest} -eq 32 ] || fail "no digest printed: $(cat "$work/stdout" "$work/stderr")"
    echo "$compute reference digest, one rank: $digest"
  elif [ "$digest" != "$expected" ]; then
    fail "$ranks ranks, $*: digest $digest, expected $expected"
  fi
}

check 1
for ranks in 2 3 4 5 7; do
  for ((attention = 1; attention < ranks; attention++)); do
    check "$ranks" --set layout.attention_ranks="$attention" --set layout.expert_ranks=$((ranks - attention))
  done
  check "$ranks" --set layout.mode=colocated
done
check 3 --set layout.mode=replicate
for scheduler in mtfs flfs mbflfs defrag; do
  check 3 --set schedule.scheduler="$scheduler" --set schedule.aging_ms=1
  check 2 --set schedule.scheduler="$scheduler" --set layout.mode=colocated
done
for budget in 1 3 17 100 4096; do
  check 2 --set limits.max_tokens_in_flight="$budget" --set limits.segment_tokens=$((budget < 5 ? budget : 5)) \
    --set limits.expert_rows=$((budget < 7 ? budget : 7))
  check 1 --set limits.max_tokens_in_flight="$budget" --set limits.segment_tokens="$budget"
done
check 1 --set limits.kv_tokens=1024   # little KV: requests wait for room
prefix=(env MOEBIUS_SHARED_MEMORY=off)   # every message an MPI_Put
check 3
check 2 --set layout.mode=colocated
# All ranks together, layer by layer: in few large steps and in many small ones.
lockstep=(--set schedule.execution=lockstep)
check 1 "${lockstep[@]}" --set layout.mode=colocated
check 3 "${lockstep[@]}" --set layout.mode=colocated --set limits.max_tokens_in_flight=23
check 4 "${lockstep[@]}" --set layout.mode=split --set layout.attention_ranks=1
check 2 "${lockstep[@]}" --set layout.mode=split --set limits.expert_rows=5
# The fixed order of a pipeline, with more token parts than rows at times.
pipeline=(--set schedule.execution=pipeline --set layout.mode=split)
check 2 "${pipeline[@]}"
check 3 "${pipeline[@]}" --set layout.attention_ranks=1 --set pipeline.r1=3 --set pipeline.r2=40 --set pipeline.order=aass
prefix=(env MOEBIUS_RANKS_PER_NODE=2)    # both paths in one job
check 4
check 4 "${pipeline[@]}" --set layout.attention_ranks=3 --set pipeline.r1=2 --set pipeline.r2=3 --set limits.max_tokens_in_flight=50
check 3 "${pipeline[@]}" --set pipeline.r2=2 --set pipeline.order=fused
prefix=()
shuf --random-source=<(yes 7) "$input" >"$work/shuffled.jsonl"
job_file=$(job "$work/shuffled.jsonl" "$work/out")
check 1
check 4

echo "$compute: $runs runs compared"
finish
