#!/usr/bin/env bash
# Is slow motion true? Fits its device to this machine and compares, for two ranks on two cores, how many times as fast one
# schedule is as another: in real time and in slow motion. A pair passes where both ratios, of medians of runs in turn, agree within
# 10 % and the runs in slow motion count. Exit code 1 where one fails. Give it an idle machine; about three minutes a pair.
#   ./jobs/validate_slow_motion.sh [DILATION [PAIR...]]        default: 6, and pairs 1 2 3 4
#       1: scoring, split, async over lock-step      2: generation, colocated, async over lock-step
#       3: generation, colocated, flfs over defrag   4: generation, split, async over lock-step
#   VALIDATION=FOLDER keeps the model, and the fits of expert calls, for the next call
# The fit. Expert calls: moebius profile measures them by rows on the expert ranks of the pair's layout, at once (two that read weights
# share the memory); 256 rows give the arithmetic rate, one row the rate of reading weights. Whatever a call costs beside
# them is in these two rates, since a processor pays it for each call, also of a group. Attention: the share of the same rates that its
# stages reach in a lock-step run of each kind (both ways of execution have the same stages). Messages stay in shared memory: 1 us and
# 20 GB/s are given to the link. The speeds to be compared are not fitted.
set -eu
cd "$(dirname "$0")/.."
dilation=${1:-6}
[ $# -eq 0 ] || shift
pairs=${*:-1 2 3 4}
. ./jobs/mpi_env.sh
. ./jobs/random_requests.sh
program=${MOEBIUS:-build/moebius}
if [ -z "${MOEBIUS:-}" ]; then
  ./cmake/install_debian.sh
  cmake --preset release >/dev/null
  cmake --build --preset release --target moebius >/dev/null
fi
work=${VALIDATION:-$(mktemp -d)}
[ -n "${VALIDATION:-}" ] || trap 'rm -rf "$work"' EXIT
mkdir -p "$work"
hidden=1024 width=512
[ -e "$work/model/config.json" ] || "$program" make-model "$work/model" --family qwen3_moe --hidden $hidden --layers 8 --heads 16 --kv-heads 4 \
  --head-dim 64 --experts 32 --top-k 4 --width $width --vocab 4096 --context 2048 --tokenizer inputs/models/tiny
requests 24 256 '"kind":"loglikelihood_rolling","text":' '' >"$work/score.jsonl"
requests 32 32 '"kind":"generate_until","until":[],"context":' ',"max_gen_toks":24' >"$work/generate.jsonl"
printf '[model]\npath = "%s"\ncompute = "bf16"\n[input]\npath = "%s"\n[output]\npath = "%s"\n[run]\nprogress = "off"\n' \
  "$work/model" "$work/score.jsonl" "$work/results" >"$work/job.toml"

run() {  # run INPUT [ARGS]: the summary line
  local input=$1
  shift
  mpirun --oversubscribe -n 2 "$program" run "$work/job.toml" --force-new --set "input.path=$work/$input.jsonl" "$@" 2>"$work/stderr" |
    grep '^{' || { cat "$work/stderr" >&2; exit 1; }
}
value() { sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p" <<<"$2"; }
column() { h5dump -y -w 1 -d "/ranks/timing/$1" "$work/results/results.h5" | sed '1,/DATA {/d' | sed -nE 's/^ *"?([-a-z_0-9.e]+).*/\1/p'; }
# Seconds and number of the stages of attention: attention, router, combine, LM head; of the last run.
attention() {
  paste <(column phase) <(column seconds) <(column rows) <(column calls) |
    awk '$1 ~ /^(attention|router|combine|lm_head)$/ { s += $2 } $1 ~ /^(router|lm_head)$/ { n += $4 } END { print s, n }'
}

# fit LAYOUT: fits expert calls on the expert ranks of the layout, all at once, into `device`.
fit() {
  local layout=$1 flops bytes_per_s
  if [ ! -e "$work/fit_$layout" ]; then
    mpirun --oversubscribe -n 2 "$program" profile "$work/job.toml" --out "$work/profile.json" --set "layout.mode=$layout" >/dev/null 2>&1
    tr -d ' \n' <"$work/profile.json" | grep -oE '\[[0-9.e+-]+,[0-9.e+-]+\]' | tr -d '[]' | tr ',' ' ' |
      awk -v weights=$((3 * hidden * width)) '{ sum[$1 + 0] += $2; count[$1 + 0] += 1 }
        END { printf "%.6g %.6g\n", 2 * weights * 256 * count[256] / sum[256], 2 * weights * count[1] / sum[1] }' >"$work/fit_$layout"
    echo "fitted to $layout ranks: $(awk '{ printf "%.1f GFLOP/s, %.1f GB/s", $1 * 1e-9, $2 * 1e-9 }' "$work/fit_$layout")"
  fi
  read -r flops bytes_per_s <"$work/fit_$layout"
  device=(--set emulation.device=custom --set emulation.link=custom --set emulation.link_bytes_per_s=2e10 --set emulation.link_latency_us=1
    --set emulation.row_tile=1 --set emulation.dilation="$dilation" --set emulation.flops="$flops" --set emulation.bytes_per_s="$bytes_per_s")
}

# real INPUT [ARGS]: tokens/s in real time. A run beside which others took more than a fifth of a core is repeated, three times at most.
busy_s() { awk -v ticks="$(getconf CLK_TCK)" '$1 == "cpu" { print ($2 + $3 + $4 + $7 + $8) / ticks }' /proc/stat; }
real() {
  local line try begin before share least=99 best=
  for try in 1 2 3 4; do
    begin=$(date +%s.%N) before=$(busy_s)
    line=$(run "$@"; times >"$work/times")
    share=$(awk -v begin="$begin" -v end="$(date +%s.%N)" -v before="$before" -v after="$(busy_s)" 'NR == 2 {
      for (i = 1; i <= 2; i++) { split($i, t, /[ms]/); own += 60 * t[1] + t[2] }
      print (after - before - own) / (end - begin) }' "$work/times")
    if awk "BEGIN { exit !($share < $least) }"; then least=$share best=$(value tokens_per_s "$line"); fi
    awk "BEGIN { exit !($least < 0.2) }" && break
    sleep 2
  done
  awk "BEGIN { exit !($least < 0.2) }" || echo "others had $least of a core beside the quietest of 4 runs" >&2
  echo "$best"
}

middle() { sort -n | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
# compare INPUT NAME LAYOUT A B; A and B: name, then keys of the schedule; five runs of each in real time, in turn, three in slow motion.
compare() {
  local input=$1 name=$2 layout=$3 efficiency line valid=yes real modelled which
  local -a both=(--set "layout.mode=$layout") a b device
  fit "$layout"
  read -ra a <<<"$4"
  read -ra b <<<"$5"
  : >"$work/efficiency"; : >"$work/real_a"; : >"$work/real_b"; : >"$work/slow_a"; : >"$work/slow_b"
  for _ in 1 2 3; do
    real "$input" "${both[@]}" --set schedule.execution=lockstep >/dev/null
    attention >>"$work/efficiency"
  done
  real=$(sort -n "$work/efficiency" | sed -n 2p)
  run "$input" "${both[@]}" --set schedule.execution=lockstep "${device[@]}" >/dev/null
  modelled=$(attention)
  efficiency=$(awk -v dilation="$dilation" '{ print $3 / $4 / dilation / ($1 / $2) }' <<<"$real $modelled")
  # A share above 1 is no efficiency: the rates themselves are too low for attention then, and it gets them whole.
  efficiency=$(awk "BEGIN { print ($efficiency < 1 ? $efficiency : 1) }")
  for _ in 1 2 3 4 5; do
    real "$input" "${both[@]}" "${a[@]:1}" >>"$work/real_a"
    real "$input" "${both[@]}" "${b[@]:1}" >>"$work/real_b"
  done
  for _ in 1 2 3; do
    for which in a b; do
      local -n schedule=$which
      line=$(run "$input" "${both[@]}" "${schedule[@]:1}" "${device[@]}" --set emulation.attention_efficiency="$efficiency")
      value emulated_tokens_per_s "$line" >>"$work/slow_$which"
      [ "$(value emulation_valid "$line")" = true ] || valid="no ($which: $(value compute_share "$line") of a core, slip $(value emulation_slip "$line"), missed $(value missed_share "$line"))"
    done
  done
  awk -v name="$name" -v a="${a[0]}" -v b="${b[0]}" -v share="$efficiency" -v valid="$valid" -v ra="$(middle <"$work/real_a")" -v rb="$(middle <"$work/real_b")" \
    -v sa="$(middle <"$work/slow_a")" -v sb="$(middle <"$work/slow_b")" 'BEGIN {
      off = sa / sb / (ra / rb) - 1
      pass = valid == "yes" && off < 0.1 && off > -0.1
      printf "%s: %s, %s over %s: real time %.3f (%.0f and %.0f tokens/s), slow motion %.3f (emulated %.0f and %.0f); %+.1f %%; attention at %.2f of the rates; valid: %s\n",
             pass ? "PASS" : "FAIL", name, a, b, ra / rb, ra, rb, sa / sb, sa, sb, 100 * off, share, valid
      exit !pass
    }'
}
status=0
async="async --set schedule.execution=async" lockstep="lock-step --set schedule.execution=lockstep"
for pair in $pairs; do
  case $pair in
    1) compare score "scoring, split" split "$async" "$lockstep" || status=1 ;;
    2) compare generate "generation, colocated" colocated "$async" "$lockstep" || status=1 ;;
    3) compare generate "generation, colocated" colocated "flfs --set schedule.scheduler=flfs" "defrag --set schedule.scheduler=defrag" || status=1 ;;
    4) compare generate "generation, split" split "$async" "$lockstep" || status=1 ;;
    *) echo "there is no pair $pair" >&2; exit 2 ;;
  esac
done
exit $status
