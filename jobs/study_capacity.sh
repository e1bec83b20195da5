#!/usr/bin/env bash
# What a capacity of experts costs in quality and saves in work (Capacity-Aware Inference, arXiv 2503.05066). Quality on the tiny model:
# perplexity and four-way accuracy, KL and top-1 agreement against the run without capacity, and dropped pairs, for every gamma,
# metric and method. Checks the shape that is expected: score beats random beats order, and expanded_drop is not behind drop by score.
# Then speed in slow motion, predicted and measured: Mixtral-8x7B on H100s with one and with four experts a rank.
#   ./jobs/study_capacity.sh [GAMMA...]      default: 3 2 1.5 1.25 1 0.75; about 12 minutes on 2 cores; GAMMA does not touch the second part
set -eu
cd "$(dirname "$0")/.."
. ./jobs/mpi_env.sh
gammas=("$@")
[ $# -gt 0 ] || gammas=(3 2 1.5 1.25 1 0.75)
program=${MOEBIUS:-build/moebius}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Texts as echoed prompts: their distributions are compared, at most 20 tokens each.
sed -E 's/^\{"custom_id": ("[^"]*"), "kind": "loglikelihood_rolling", "text": (.*)\}$/{"custom_id": \1, "url": "\/v1\/completions", "body": {"prompt": \2, "echo": true, "max_tokens": 0, "logprobs": 20, "temperature": 0}}/' \
  inputs/data/heldout_text.jsonl | head -60 >"$work/echo.jsonl"

key() { sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p" "$2" | tail -1; }
run() {  # run JOB OUTPUT [--set ...]: summary in OUTPUT.json, text for people in OUTPUT.txt
  local job=$1 output=$2
  shift 2
  mpirun -n 2 "$program" run "$job" --force-new --set layout.mode=colocated --set run.progress=off --set "output.path=$output" "$@" \
    >"$output.json" 2>"$output.txt" || { cat "$output.txt" >&2; exit 1; }
}
measure() {  # measure NAME [--set ...]: one line of the table, and its values for the checks
  local name=$1 kl=0 top1=1
  shift
  run inputs/score.toml "$work/score" "$@"
  run inputs/perplexity.toml "$work/text" "$@"
  run inputs/perplexity.toml "$work/$([ "$name" = off ] && echo reference || echo echo)" --set "input.path=$work/echo.jsonl" "$@"
  if [ "$name" != off ]; then
    "$program" compare "$work/reference" "$work/echo" >"$work/compare.json" 2>/dev/null
    kl=$(key kl "$work/compare.json") top1=$(key top1_agreement "$work/compare.json")
  fi
  ppl=$(sed -nE 's/^perplexity .* tokens: ([0-9.]+) per token.*/\1/p' "$work/text.txt")
  accuracy=$(sed -nE 's/^accuracy .*: ([0-9.]+) % raw.*/\1/p' "$work/score.txt")
  local kept dropped added rows
  kept=$(key pairs_kept "$work/score.json") dropped=$(key pairs_dropped "$work/score.json") added=$(key pairs_added "$work/score.json")
  rows=$(key rows_max "$work/score.json")
  [ "$name" != off ] || off_rows=$rows
  awk -v name="$name" -v ppl="$ppl" -v acc="$accuracy" -v kl="$kl" -v top="$top1" -v k="$kept" -v d="$dropped" -v a="$added" -v r="$rows" -v r0="$off_rows" \
    'BEGIN { n = k + d; if (n == 0) n = 1
      printf "%-30s %9.4f %7.1f %9.5f %7.2f %9.2f %8.2f %11.3f\n", name, ppl, acc, kl, 100 * top, 100 * d / n, 100 * a / n, r0 / r }'
}

printf '%-30s %9s %7s %9s %7s %9s %8s %11s\n' "method, metric, gamma" ppl "acc, %" KL "top-1, %" "dropped,%" "added, %" "predicted x"
measure off
declare -A perplexity
for gamma in "${gammas[@]}"; do
  for method in drop expanded_drop; do
    for metric in score random order; do
      measure "$method $metric $gamma" --set capacity.method=$method --set capacity.metric=$metric --set "capacity.gamma=$gamma"
      perplexity[$method,$metric,$gamma]=$ppl
    done
  done
done
echo "predicted x: largest rows of a rank in a micro-batch without capacity over those with it"

shape=0
for gamma in "${gammas[@]}"; do
  awk -v s="${perplexity[drop,score,$gamma]}" -v r="${perplexity[drop,random,$gamma]}" -v o="${perplexity[drop,order,$gamma]}" \
    -v e="${perplexity[expanded_drop,score,$gamma]}" -v g="$gamma" 'BEGIN {
      ok = s <= r && r <= o * 1.01 && e <= s * 1.005
      printf "gamma %s: score %.4f, random %.4f, order %.4f, expanded by score %.4f: %s\n", g, s, r, o, e, ok ? "as expected" : "NOT as expected"
      exit !ok }' || shape=1
done
echo
build/moebius_study capacity --program "$program"
exit $shape
