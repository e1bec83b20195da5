#!/usr/bin/env bash
# Predicted beside measured time of the loop: ways to run a job, links and published sizes in slow motion, with a small model whose router
# chooses experts evenly. A line a run, then the median error of those that count; async alone has a bound in place of a prediction.
#   ./jobs/study_plan.sh [MODEL ...]      default: qwen3-30b-a3b deepseek-v2-lite; about 8 minutes
set -eu
cd "$(dirname "$0")/.."
. ./jobs/mpi_env.sh
. ./jobs/random_requests.sh
program=${MOEBIUS:-build/moebius}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || set -- qwen3-30b-a3b deepseek-v2-lite

"$program" make-model "$work/model" --hidden 64 --layers 4 --heads 2 --kv-heads 1 --head-dim 32 --experts 32 --top-k 4 --width 32 --vocab 4096 \
  --router-skew 0 2>/dev/null
echo '{}' >"$work/model/generation_config.json"  # no token ends a text
requests 32 256 '"kind":"loglikelihood_rolling","text":' '' >"$work/prompts.jsonl"
requests 32 64 '"kind":"generate_until","until":[],"context":' ',"max_gen_toks":16' >"$work/generation.jsonl"
printf '[model]\npath = "%s"\n[input]\npath = "none"\n[output]\npath = "%s"\n[run]\nprogress = "off"\n[limits]\nexpert_rows = 4096\n' "$work/model" "$work/out" >"$work/job.toml"
value() { sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p" "$work/summary"; }

printf '%-18s %-8s %-11s %5s %-10s %-10s %12s %12s %9s %6s\n' sizes link work ranks layout execution predicted measured error valid
for model in "$@"; do
  for link in nvlink pcie network; do
    for input in prompts generation; do
      for cell in '2 colocated lockstep' '4 colocated lockstep' '2 split pipeline' '4 split pipeline' '2 replicate async' '4 split async'; do
        read -r ranks layout execution <<<"$cell"
        dilation=600
        [ $input = prompts ] || dilation=200
        mpirun --oversubscribe -n "$ranks" "$program" run "$work/job.toml" --force-new --set input.path="$work/$input.jsonl" --set layout.mode="$layout" \
          --set schedule.execution="$execution" --set emulation.device=h100 --set emulation.model="$model" --set emulation.shape=checkpoint \
          --set emulation.link="$link" --set emulation.dilation=$dilation 2>/dev/null >"$work/summary"
        printf '%-18s %-8s %-11s %5s %-10s %-10s %12s %12s %9s %6s\n' "$model" "$link" "$input" "$ranks" "$layout" "$execution" "$(value predicted_s)" \
          "$(value measured_s)" "$(value prediction_error)" "$(value emulation_valid)" | tee -a "$work/table"
      done
    done
  done
done
awk '$10 == "true" && !($5 == "split" && $6 == "async") { print $9 < 0 ? -$9 : $9 }' "$work/table" | sort -n |
  awk '{ error[NR] = $1 } END { printf "median error of %d runs that count: %.1f %%, largest %.1f %%\n", NR, 100 * error[int((NR + 1) / 2)], 100 * error[NR] }'
