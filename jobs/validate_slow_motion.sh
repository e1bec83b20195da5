#!/usr/bin/env bash
# Is slow motion true? Fits its device to this machine and compares, for two ranks on two cores, how many times as fast one
# schedule is as another: in real time and in slow motion. Aim: within 10 %. Give it an idle machine; about six minutes.
#   ./jobs/validate_slow_motion.sh [DILATION]        default: 6
# The fit. Expert calls: moebius profile measures them by rows, both ranks at once; the slope between 64 and 256 rows is the
# arithmetic rate, what is left at 256 rows the overhead of a call, and one row beside that the reading of weights.
# Attention: the share of the same rates that its stages reach in a lock-step run of each kind (both ways of execution have the
# same stages). Messages stay in shared memory: 1 us and 20 GB/s are given to the link. The speeds to be compared
# are not fitted.
set -eu
cd "$(dirname "$0")/.."
dilation=${1:-6}
./cmake/install_debian.sh
cmake --preset release >/dev/null
cmake --build --preset release --target moebius >/dev/null
. ./jobs/mpi_env.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
hidden=1024 width=512
build/moebius make-model "$work/model" --family qwen3_moe --hidden $hidden --layers 8 --heads 16 --kv-heads 4 --head-dim 64 \
  --experts 32 --top-k 4 --width $width --vocab 4096 --context 2048 --tokenizer inputs/models/tiny
# Lines of random token ids: requests COUNT TOKENS PREFIX SUFFIX
requests() {
  awk -v count="$1" -v tokens="$2" -v prefix="$3" -v suffix="$4" 'BEGIN {
    srand(7)
    for (i = 0; i < count; i++) {
      printf "{\"custom_id\":\"%d\",%s[", i, prefix
      for (j = 0; j < tokens; j++) printf "%s%d", j ? "," : "", 4 + int(rand() * 4000)
      print "]" suffix "}"
    }
  }'
}
requests 24 256 '"kind":"loglikelihood_rolling","text":' '' >"$work/score.jsonl"
requests 32 32 '"kind":"generate_until","until":[],"context":' ',"max_gen_toks":24' >"$work/generate.jsonl"
printf '[model]\npath = "%s"\ncompute = "bf16"\n[input]\npath = "%s"\n[output]\npath = "%s"\n[run]\nprogress = "off"\n' \
  "$work/model" "$work/score.jsonl" "$work/results" >"$work/job.toml"

run() {  # run INPUT [ARGS]: the summary line
  local input=$1
  shift
  mpirun --oversubscribe -n 2 build/moebius run "$work/job.toml" --force-new --set "input.path=$work/$input.jsonl" "$@" 2>"$work/stderr" |
    grep '^{' || { cat "$work/stderr" >&2; exit 1; }
}
value() { sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p" <<<"$2"; }
column() { h5dump -y -w 1 -d "/ranks/timing/$1" "$work/results/results.h5" | sed '1,/DATA {/d' | sed -nE 's/^ *"?([-a-z_0-9.e]+).*/\1/p'; }
# Seconds and number of the stages of attention: attention, router, combine, LM head; of the last run.
attention() {
  paste <(column phase) <(column seconds) <(column rows) <(column calls) |
    awk '$1 ~ /^(attention|router|combine|lm_head)$/ { s += $2 } $1 ~ /^(router|lm_head)$/ { n += $4 } END { print s, n }'
}

# Expert calls.
mpirun --oversubscribe -n 2 build/moebius profile "$work/job.toml" --out "$work/profile.json" --set layout.mode=colocated >/dev/null
fit=$(tr -d ' \n' <"$work/profile.json" | grep -oE '\[[0-9.e+-]+,[0-9.e+-]+\]' | tr -d '[]' | tr ',' ' ' |
  awk -v weights=$((3 * hidden * width)) '{ sum[$1 + 0] += $2; count[$1 + 0] += 1 }
    END {
      for (rows in sum) t[rows] = sum[rows] / count[rows]
      slope = (t[256] - t[64]) / 192
      overhead = t[256] - 256 * slope
      if (overhead < 1e-6) overhead = 1e-6
      printf "%.6g %.6g %.4g", 2 * weights / slope, 2 * weights / (t[1] - overhead), overhead * 1e6
    }')
read -r flops bytes_per_s expert_us <<<"$fit"
device=(--set emulation.device=custom --set emulation.link=custom --set emulation.link_bytes_per_s=2e10 --set emulation.link_latency_us=1
  --set emulation.row_tile=1 --set emulation.dilation="$dilation" --set emulation.flops="$flops" --set emulation.bytes_per_s="$bytes_per_s"
  --set emulation.expert_overhead_us="$expert_us")
echo "fitted: $(awk "BEGIN { print $flops * 1e-9 }") GFLOP/s, $(awk "BEGIN { print $bytes_per_s * 1e-9 }") GB/s, $expert_us us for an expert call"

# compare INPUT NAME [ARGS OF BOTH] -- NAME_A [ARGS] -- NAME_B [ARGS]: three runs of each in real time, in turn, two in slow motion.
middle() { tr ' ' '\n' | sort -n | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
compare() {
  local input=$1 name=$2 a b
  local -a both=() first=() second=()
  shift 2
  while [ "$1" != -- ]; do both+=("$1"); shift; done
  shift; a=$1; shift
  while [ "$1" != -- ]; do first+=("$1"); shift; done
  shift; b=$1; shift
  second=("$@")
  run "$input" "${both[@]}" --set schedule.execution=lockstep >/dev/null
  local real modelled efficiency line valid=yes
  real=$(attention)
  run "$input" "${both[@]}" --set schedule.execution=lockstep "${device[@]}" >/dev/null
  modelled=$(attention)
  efficiency=$(awk -v dilation="$dilation" '{ share = $3 / $4 / dilation / ($1 / $2); print (share < 1 ? share : 1) }' <<<"$real $modelled")
  : >"$work/real_a"; : >"$work/real_b"; : >"$work/slow_a"; : >"$work/slow_b"
  for _ in 1 2 3; do
    value tokens_per_s "$(run "$input" "${both[@]}" "${first[@]}")" >>"$work/real_a"
    value tokens_per_s "$(run "$input" "${both[@]}" "${second[@]}")" >>"$work/real_b"
  done
  for _ in 1 2; do
    for which in a b; do
      if [ $which = a ]; then line=$(run "$input" "${both[@]}" "${first[@]}" "${device[@]}" --set emulation.attention_efficiency="$efficiency")
      else line=$(run "$input" "${both[@]}" "${second[@]}" "${device[@]}" --set emulation.attention_efficiency="$efficiency"); fi
      value emulated_tokens_per_s "$line" >>"$work/slow_$which"
      [ "$(value emulation_valid "$line")" = true ] || valid="no ($(value compute_share "$line") of a core, slip $(value emulation_slip "$line"), missed $(value missed_share "$line"))"
    done
  done
  awk -v name="$name" -v a="$a" -v b="$b" -v share="$efficiency" -v valid="$valid" -v ra="$(middle <"$work/real_a")" -v rb="$(middle <"$work/real_b")" \
    -v sa="$(middle <"$work/slow_a")" -v sb="$(middle <"$work/slow_b")" 'BEGIN {
      printf "%s (attention at %.2f of the rates), %s over %s: real time %.3f (%.0f and %.0f tokens/s), slow motion %.3f (emulated %.0f and %.0f); %+.1f %%; valid: %s\n",
             name, share, a, b, ra / rb, ra, rb, sa / sb, sa, sb, 100 * (sa / sb / (ra / rb) - 1), valid
    }'
}
split=(--set layout.mode=split) colocated=(--set layout.mode=colocated)
async=(--set schedule.execution=async) lockstep=(--set schedule.execution=lockstep)
compare score "scoring, split" "${split[@]}" -- async "${async[@]}" -- lock-step "${lockstep[@]}"
compare generate "generation, colocated" "${colocated[@]}" -- flfs "${async[@]}" -- defrag "${async[@]}" --set schedule.scheduler=defrag
compare score "scoring, colocated" "${colocated[@]}" "${async[@]}" -- "1024 tokens in flight" -- 128 --set limits.max_tokens_in_flight=128
