#!/usr/bin/env bash
# A mid-size model end to end, beside what the machine can do: scoring of 512-token texts as a share of the
# bf16 limit, and generation of 64 sequences at once (128 tokens in, 32 out) as a share of its bound: in each step the
# weights streamed once, or the arithmetic limit, whichever is longer; the prompts are one step. Printed for all steps
# together and for those of one token a sequence alone. The model is written by make-model
# (0.86 GB); limits are measured before and after each run, all ranks at once: the memory of a virtual machine may read half as
# fast for seconds at a time, so that each run has the bound of its own moment. Give it an idle machine.
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

# The limits of this moment, of all ranks at once: GFLOP/s, and GB/s as a median.
limits() {
  for ((rank = 0; rank < ranks; rank++)); do
    build/moebius_bench --benchmark_filter=limits_bf16 2>/dev/null >"$work/limits_$rank" &
  done
  wait
  sed -nE 's/.*GFLOP\/s=([0-9.]+)([kM]?) .*median GB\/s=([0-9.]+).*/\1\2 \3/p' "$work"/limits_* | awk '{ f += $1 * ($1 ~ /k/ ? 1000 : 1); b += $2 } END { print f, b }'
}

# In turn, each with the limits around it.
before=$(limits)
for _ in 1 2 3; do
  for input in score generate_1 generate_$tokens_out; do
    line=$(run $input "$@")
    after=$(limits)
    echo "$input $before $after $(value loop_s "$line") $(value tokens_fed "$line")" >>"$work/runs"
    before=$after
  done
done
awk -v ranks="$ranks" -v tokens_out=$tokens_out '
  # The values of a, sorted; the one in the middle.
  function middle(a, n,   i, j, t) {
    for (i = 2; i <= n; i++) for (j = i; j > 1 && a[j] < a[j - 1]; j--) { t = a[j]; a[j] = a[j - 1]; a[j - 1] = t }
    return a[int((n + 1) / 2)]
  }
  BEGIN {
    # Multiply-adds of a token, two operations each: projections, router, four experts, LM head; and attention
    # over the mean number of keys.
    layer = 2 * 1024 * (1024 + 2 * 256) + 2 * 1024 * 1024 + 2 * 1024 * 32 + 4 * 3 * 2 * 1024 * 512
    token = (8 * layer + 2 * 1024 * 4096) * 1e-9
    text = token + 8 * 4 * 1024 * 256.5 * 1e-9
    prompt = token + 8 * 4 * 1024 * 64.5 * 1e-9
  }
  {
    gflops = ($2 + $4) / 2; gbytes = ($3 + $5) / 2; seconds = $6; fed = $7
    all_gflops[NR] = gflops; all_gbytes[NR] = gbytes
    if ($1 == "score") { n++; rate[n] = fed / seconds; share[n] = 100 * fed / seconds * text / gflops; next }
    stream = 0.8647 / gbytes; compute = 64 * token / gflops
    bound = stream > compute ? stream : compute
    prompts = 64 * 128 * prompt / gflops
    if ($1 == "generate_1") { first = seconds; first_fed = fed; next }
    whole[n] = seconds; whole_share[n] = 100 * (prompts + (tokens_out - 1) * bound) / seconds
    step = (seconds - first) / (tokens_out - 1)
    step_ms[n] = 1e3 * step; step_rate[n] = (fed - first_fed) / (seconds - first); bound_ms[n] = 1e3 * bound; step_share[n] = 100 * bound / step
  }
  END {
    printf "limits of %d ranks at once: %.0f GFLOP/s in bf16, read %.1f GB/s; medians of %d runs of each kind follow\n", ranks, middle(all_gflops, NR), middle(all_gbytes, NR), n
    printf "scoring: %.0f tokens/s, %.0f %% of the limit\n", middle(rate, n), middle(share, n)
    printf "generation, 64 x (128 in, 32 out): %.2f s, %.0f %% of its bound\n", middle(whole, n), middle(whole_share, n)
    printf "its steps of one token each: %.0f tokens/s, %.1f ms a step, bound %.1f ms: %.0f %%\n", middle(step_rate, n), middle(step_ms, n), middle(bound_ms, n), middle(step_share, n)
  }' "$work/runs"
