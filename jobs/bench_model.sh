#!/usr/bin/env bash
# A mid-size model end to end, beside what the machine can do: scoring of 512-token texts as a share of the
# bf16 limit, and generation of 64 sequences at once (128 tokens in, 32 out) as a share of its bound: in each step the
# weights streamed once, or the arithmetic limit, whichever is longer; the prompts are one step. Printed for all steps
# together and for those of one token a sequence alone. The model is written by make-model
# (0.86 GB); limits are measured in the same call, before and after, all ranks at once. Give it an idle machine.
#   ./jobs/bench_model.sh [RANKS] [--set KEY=VALUE ...]        default: 2 colocated ranks
set -eu
cd "$(dirname "$0")/.."
ranks=${1:-2}
[ $# -eq 0 ] || shift
./cmake/install_debian.sh
cmake --preset release >/dev/null
cmake --build --preset release --target moebius moebius_bench >/dev/null
. ./jobs/mpi_env.sh
. ./jobs/random_requests.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build/moebius make-model "$work/model" --family qwen3_moe --hidden 1024 --layers 8 --heads 16 --kv-heads 4 --head-dim 64 \
  --experts 32 --top-k 4 --width 512 --vocab 4096 --context 2048 --tokenizer inputs/models/tiny
requests 64 512 '"kind":"loglikelihood_rolling","text":' '' >"$work/score.jsonl"
tokens_out=32
for new in 1 $tokens_out; do
  requests 64 128 '"kind":"generate_until","until":[],"context":' ",\"max_gen_toks\":$new" >"$work/generate_$new.jsonl"
done
run() {  # run INPUT [ARGS]: the summary line
  local input=$1
  shift
  printf '[model]\npath = "%s"\ncompute = "bf16"\n[input]\npath = "%s"\n[output]\npath = "%s"\n[layout]\nmode = "colocated"\n' \
    "$work/model" "$work/$input.jsonl" "$work/results" >"$work/job.toml"
  mpirun --oversubscribe -n "$ranks" build/moebius run "$work/job.toml" --force-new --set run.progress=off "$@" 2>"$work/stderr" |
    grep '^{' || { cat "$work/stderr" >&2; exit 1; }
}
value() { sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p" <<<"$2"; }

measure_limits() {  # measure_limits NAME: of all ranks at once
  for ((rank = 0; rank < ranks; rank++)); do
    build/moebius_bench --benchmark_filter=limits_bf16 2>/dev/null >"$work/limits_$1_$rank" &
  done
  wait
}
# Before and after, and the mean of both: the memory of a virtual machine is not as fast at all times.
limit() { sed -nE "s/.*$1=([0-9.]+)([kMGT]?).*/\1 \2/p" "$work"/limits_* | awk '{ s += $1 * ($2 == "k" ? 1000 : 1) } END { print s / 2 }'; }

measure_limits before
score=$(run score "$@")
# In turn, and the run in the middle of each: the steps are a difference of the two.
for _ in 1 2 3; do
  for new in 1 $tokens_out; do run generate_$new "$@" >>"$work/runs_$new"; done
done
measure_limits after
gflops=$(limit 'GFLOP\/s') gbytes=$(limit 'GB\/s')
middle() { sed -E 's/.*"loop_s":([0-9.]+).*/\1 &/' "$work/runs_$1" | sort -n | sed -n '2s/^[^ ]* //p'; }
first=$(middle 1)
all=$(middle $tokens_out)
awk -v ranks="$ranks" -v gflops="$gflops" -v gbytes="$gbytes" -v rate="$(value tokens_per_s "$score")" -v steps=$((tokens_out - 1)) \
  -v first="$(value loop_s "$first")" -v all="$(value loop_s "$all")" -v fed_first="$(value tokens_fed "$first")" \
  -v fed_all="$(value tokens_fed "$all")" 'BEGIN {
    # Multiply-adds of a token, two operations each: projections, router, four experts, LM head; and attention
    # over the mean number of keys.
    layer = 2 * 1024 * (1024 + 2 * 256) + 2 * 1024 * 1024 + 2 * 1024 * 32 + 4 * 3 * 2 * 1024 * 512
    token = 8 * layer + 2 * 1024 * 4096
    text = token + 8 * 4 * 1024 * 256.5
    printf "limits of %d ranks at once: %.0f GFLOP/s in bf16, read %.1f GB/s\n", ranks, gflops, gbytes
    printf "scoring: %.0f tokens/s, %.0f GFLOP/s, %.0f %% of the limit\n", rate, rate * text * 1e-9, 100 * rate * text * 1e-9 / gflops
    step = (all - first) / steps
    stream = 0.8647 / gbytes
    compute = 64 * token * 1e-9 / gflops
    bound = stream > compute ? stream : compute
    prompts = 64 * 128 * (token + 8 * 4 * 1024 * 64.5) * 1e-9 / gflops
    printf "generation, 64 x (128 in, 32 out): %.2f s; bound %.2f s (prompts %.2f, steps %.2f): %.0f %%\n",
           all, prompts + steps * bound, prompts, steps * bound, 100 * (prompts + steps * bound) / all
    printf "its steps of one token each: %.0f tokens/s, %.1f ms a step; bound %.1f ms (weights once %.1f, arithmetic %.1f): %.0f %%\n",
           (fed_all - fed_first) / (all - first), step * 1e3, bound * 1e3, stream * 1e3, compute * 1e3, 100 * bound / step
  }'
