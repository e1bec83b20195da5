#!/usr/bin/env bash
# A job whose hot experts change half-way: texts of one set of tokens, then of another. Experts stay where they were best for
# the first half (planned from its trace), or move while the job runs. Printed: tokens/s of each half, each change of the
# placement with what it was to save and saved, and what it cost the ranks. Longest texts are claimed first, so the first
# half is one token longer. Give it an idle machine.
#   ./jobs/bench_rebalance.sh [--set KEY=VALUE ...]        2 colocated ranks
set -eu
cd "$(dirname "$0")/.."
./cmake/install_debian.sh
cmake --preset release >/dev/null
cmake --build --preset release --target moebius >/dev/null
. ./jobs/mpi_env.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
ranks=${RANKS:-2} texts=${TEXTS:-400} tokens=${TOKENS:-200}

build/moebius make-model "$work/model" --family qwen3_moe --hidden 512 --layers 3 --heads 8 --kv-heads 2 --head-dim 64 \
  --experts 32 --top-k 2 --width 768 --vocab 4096 --context 1024 --tokenizer inputs/models/tiny 2>/dev/null >/dev/null
# texts FIRST_TOKEN NUM_TOKENS COUNT: lines of two different tokens, so that few experts are hot
texts() {
  awk -v first="$1" -v count="$3" -v tokens="$2" 'BEGIN {
    srand(first)
    for (i = 0; i < count; i++) {
      printf "{\"custom_id\":\"%d-%d\",\"kind\":\"loglikelihood_rolling\",\"text\":[", first, i
      for (j = 0; j < tokens; j++) printf "%s%d", j ? "," : "", first + int(rand() * 2)
      print "]}"
    }
  }'
}
texts 1000 $((tokens + 1)) "$texts" >"$work/first.jsonl"
run() {  # run NAME INPUT [ARGS]: the summary line; results stay in $work/NAME
  local name=$1 input=$2
  shift 2
  printf '[model]\npath = "%s"\ncompute = "bf16"\n[input]\npath = "%s"\n[layout]\nmode = "colocated"\n[limits]\nprefix_cache = false\n[run]\nprogress = "off"\n' \
    "$work/model" "$work/$input.jsonl" >"$work/job.toml"
  mpirun --oversubscribe -n "$ranks" build/moebius run "$work/job.toml" --force-new --set output.path="$work/$name" "$@" 2>"$work/stderr" |
    grep '^{' || { cat "$work/stderr" >&2; exit 1; }
}
value() { sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p" <<<"$2"; }
column() { h5dump -y -w 1 -d "/rebalance/$1" "$2/results.h5" | sed '1,/DATA {/d' | sed -nE '/^ *[-0-9n]/!d; s/^ *([-a-z_0-9.e+]+),?$/\1/p'; }

trace=$(run trace first --set placement.record_trace=true)
static=(--set placement.planner=trace_lpt --set placement.trace="$work/trace" --set placement.trace_steps=1000)
# Of some second sets the one that the placement of the first suits least.
worst=0
for first in 2000 2100 2200 2300 2400 2500 2600 2700; do
  texts $first "$tokens" 8 >"$work/some.jsonl"
  imbalance=$(value imbalance "$(run some some "${static[@]}")")
  awk -v a="$imbalance" -v b="$worst" 'BEGIN { exit !(a > b) }' || continue
  worst=$imbalance second=$first
done
texts "$second" "$tokens" "$texts" >"$work/second.jsonl"
cat "$work/first.jsonl" "$work/second.jsonl" >"$work/both.jsonl"
periodic=(--set rebalance.interval_s="${INTERVAL:-0.25}" --set rebalance.horizon_s="${HORIZON:-20}" --set rebalance.spare_places=4)
echo "the second half under the placement of the first: busiest rank $worst times the mean, in rows"
echo "$ranks colocated ranks; tokens/s of the first half, of the second, of both; busiest rank over the mean, in rows of the whole job"
for name in static periodic; do
  extra=()
  [ $name = static ] || extra=("${periodic[@]}")
  half=$(run "$name-first" first "${static[@]}" "${extra[@]}" "$@")
  both=$(run "$name" both "${static[@]}" "${extra[@]}" "$@")
  [ $name = static ] && digest=$(value digest "$both")
  [ "$(value digest "$both")" = "$digest" ] || { echo "the digests differ"; exit 1; }
  awk -v name="$name" -v t1="$(value tokens_fed "$half")" -v s1="$(value loop_s "$half")" -v t2="$(value tokens_fed "$both")" -v s2="$(value loop_s "$both")" \
    -v imbalance="$(value imbalance "$both")" 'BEGIN { printf "%-9s %9.0f %9.0f %9.0f   %.3f\n", name, t1 / s1, (t2 - t1) / (s2 - s1), t2 / s2, imbalance }'
done
echo "changes of the placement: at (s), experts moved, weights under way for (ms), to save (s), to cost (ms), saved (s) over the horizon"
paste <(column time "$work/periodic") <(column moves "$work/periodic") <(column staging "$work/periodic") <(column predicted "$work/periodic") \
  <(column cost "$work/periodic") <(column measured "$work/periodic") |
  awk 'NF == 6 && $2 > 0 { printf "%7.2f %4d %8.2f %8.3f %8.2f %8s\n", $1, $2, 1e3 * $3, $4, 1e3 * $5, $6 }'
echo "ranks: experts received, MB copied, ms copying, ms on the placement in all, longest stall and longest expert call (ms)"
paste <(column ranks/experts_received "$work/periodic") <(column ranks/bytes_staged "$work/periodic") <(column ranks/staging_seconds "$work/periodic") \
  <(column ranks/total_seconds "$work/periodic") <(column ranks/largest_stall "$work/periodic") <(column ranks/longest_expert_call "$work/periodic") |
  awk '{ printf "%4d %8.1f %8.2f %8.2f %8.3f %8.3f\n", $1, $2 * 1e-6, 1e3 * $3, 1e3 * $4, 1e3 * $5, 1e3 * $6 }'
