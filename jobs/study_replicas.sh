#!/usr/bin/env bash
# Routers of replicas beside each other (METRO, arXiv 2512.09277): without replicas, even, metro, fewest_first, exact, at 1.125, 1.25
# and 1.5 physical experts for each logical one. First the tiny model on 4 colocated ranks, in small and in large micro-batches; then
# synthetic Zipf loads on 8 ranks; last the step of a decode in slow motion, Qwen3-30B-A3B on 8 H100s. Activated experts and rows are those of a micro-batch: the rank with most, and the mean of ranks;
# weights touched are activated experts times the bytes of an expert. Where rows max rises, gathering rows loses once time goes with rows.
#   ./jobs/study_replicas.sh      about 10 minutes on 2 cores
set -eu
cd "$(dirname "$0")/.."
. ./jobs/mpi_env.sh
program=${MOEBIUS:-build/moebius}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

key() { sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p" "$work/stdout" | tail -1; }
run() { mpirun --oversubscribe -n "$@" >"$work/stdout" 2>"$work/stderr" || { cat "$work/stderr" >&2; exit 1; }; }
run 1 "$program" run inputs/score.toml --set run.progress=off --set "output.path=$work/trace" --set placement.record_trace=true
expected=$(key digest)
echo "tiny model: 32 experts, top-4, 4 ranks; digest $expected"
printf '%-8s %9s  %-13s %14s %14s %10s %10s %14s\n' "tokens <=" replicas router "activated max" "activated mean" "rows max" "rows mean" "expert calls"
for tokens in 8 256; do
  for ratio in 1.0 1.125 1.25 1.5; do
    for router in even metro fewest_first exact; do
      [ $ratio != 1.0 ] || [ $router = even ] || continue
      run 4 "$program" run inputs/score.toml --force-new --set run.progress=off --set "output.path=$work/out" --set layout.mode=colocated \
        --set placement.planner=eplb --set "placement.trace=$work/trace" --set replicas.ratio=$ratio --set replicas.router=$router \
        --set replicas.knee_rows=1e9 --set limits.micro_batch_tokens=$tokens --set limits.segment_tokens=4 --set limits.max_tokens_in_flight=$((2 * tokens))
      [ "$(key digest)" = "$expected" ] || { echo "the digest is $(key digest)"; exit 1; }
      printf '%-8s %9s  %-13s %14s %14s %10s %10s %14s\n' $tokens $ratio "$([ $ratio = 1.0 ] && echo "no replicas" || echo $router)" \
        "$(key activated_max)" "$(key activated_mean)" "$(key rows_max)" "$(key rows_mean)" "$(key expert_calls)"
    done
  done
done
echo
echo "synthetic: 128 experts, top-8, 8 ranks"
build/tests/bench/replica_study
echo
exec build/moebius_study replicas --program "$program"
