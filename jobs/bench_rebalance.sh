#!/usr/bin/env bash
# A job whose hot experts change half-way: texts of one set of tokens, then of another. Experts stay where they were best for
# the first half (planned from its trace), or move while the job runs. Prints tables: tokens/s of each half and their ratios,
# medians of runs in turn; each change of the placement with what it cost and what became of tokens/s; what it cost the ranks.
# Longest texts are claimed first, so texts of the first half are one token longer. Give it an idle machine.
#   ./jobs/bench_rebalance.sh [--slow] [--markdown FILE.md] [--set KEY=VALUE ...]        2 colocated ranks, a mid-size model; two minutes
#       --slow: 4 ranks in slow motion, as H100s with the sizes of Qwen3-30B-A3B and 12 of its layers; about five minutes
#   RUNS (3), RANKS, TEXTS of a half, TOKENS of a text, INTERVAL and HORIZON of the rebalancing (s): from the environment
set -eu
cd "$(dirname "$0")/.."
slow=no markdown=/dev/null
while [ $# -gt 0 ]; do
  case $1 in
    --slow) slow=yes; shift ;;
    --markdown) markdown=$2; shift 2 ;;
    *) break ;;
  esac
done
: >"$markdown"
program=${MOEBIUS:-build/moebius}
if [ -z "${MOEBIUS:-}" ]; then
  ./cmake/install_debian.sh
  cmake --preset release >/dev/null
  cmake --build --preset release --target moebius >/dev/null
fi
. ./jobs/mpi_env.sh
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
runs=${RUNS:-3} tokens=${TOKENS:-200} texts=${TEXTS:-$([ $slow = yes ] && echo 400 || echo 1500)} interval=${INTERVAL:-0.25} horizon=${HORIZON:-20}
if [ $slow = yes ]; then
  ranks=${RANKS:-4} first=100 seconds="150 200 250 300 350 400 450 480" dilation=$((20 * ${RANKS:-4}))
  model=(--hidden 64 --layers 12 --heads 2 --kv-heads 1 --head-dim 16 --experts 128 --top-k 8 --width 16 --vocab 512)
  expert_mb=9.437184  # of the published one
  device=(--set emulation.device=h100 --set emulation.model=qwen3-30b-a3b --set emulation.shape=checkpoint --set emulation.dilation=$dilation)
else
  ranks=${RANKS:-2} first=1000 seconds="2000 2100 2200 2300 2400 2500 2600 2700" dilation=1
  model=(--hidden 512 --layers 3 --heads 8 --kv-heads 2 --head-dim 64 --experts 32 --top-k 2 --width 768 --vocab 4096 --tokenizer inputs/models/tiny)
  expert_mb=2.359296
  device=()
fi
"$program" make-model "$work/model" --family qwen3_moe --context 1024 "${model[@]}" 2>/dev/null >/dev/null

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
run() {  # run NAME INPUT [ARGS]: the summary line; results stay in $work/NAME
  local name=$1 input=$2
  shift 2
  printf '[model]\npath = "%s"\ncompute = "bf16"\n[input]\npath = "%s"\n[layout]\nmode = "colocated"\n[limits]\nprefix_cache = false\nmax_tokens_in_flight = 512\n[run]\nprogress = "off"\n' \
    "$work/model" "$work/$input.jsonl" >"$work/job.toml"
  mpirun --oversubscribe -n "$ranks" "$program" run "$work/job.toml" --force-new --set output.path="$work/$name" "$@" 2>"$work/stderr" |
    grep '^{' || { cat "$work/stderr" >&2; exit 1; }
}
value() { sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p" <<<"$2"; }
column() { h5dump -y -w 1 -d "$1" "$work/$2/results.h5" | sed '1,/DATA {/d' | sed -nE '/^ *[-0-9n]/!d; s/^ *([-a-z_0-9.e+]+),?$/\1/p'; }
columns() {  # columns GROUP RESULTS NAME...: side by side
  local group=$1 results=$2 files=() name
  shift 2
  for name in "$@"; do column "$group/$name" "$results" >"$work/column-$name"; files+=("$work/column-$name"); done
  paste "${files[@]}"
}
middle() { sort -n | awk '{ v[NR] = $1 } END { printf "%.0f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
say() { printf "$@" | tee -a "$markdown"; }

# The course of a run, for awk: at(t) is how many tokens all ranks had fed at time t, `last` when the last rank was done.
course='
  FNR == NR { if ($1 in n == 0) ranks[++num] = $1; i = ++n[$1]; at_s[$1, i] = $2; fed[$1, i] = $3; if ($2 > last) last = $2; next }
  function at(t,   sum, r, k, i, low, high) {
    sum = 0
    for (k = 1; k <= num; k++) {
      r = ranks[k]; low = 1; high = n[r]
      if (t >= at_s[r, high]) { sum += fed[r, high]; continue }
      if (t <= at_s[r, 1]) { sum += fed[r, 1]; continue }
      while (high - low > 1) { i = int((low + high) / 2); if (at_s[r, i] <= t) low = i; else high = i }
      sum += fed[r, low] + (fed[r, high] - fed[r, low]) * (t - at_s[r, low]) / (at_s[r, high] - at_s[r, low])
    }
    return sum
  }
  function rate(from, to) { if (from < 0) from = 0; if (to > last) to = last; return to > from ? dilation * (at(to) - at(from)) / (to - from) : 0 }
  function shown(from, to) { return to - from < window / 4 || last - from < window / 4 || to < window / 4 ? "-" : sprintf("%.0f", rate(from, to)) }'
# halves RESULTS: tokens/s of the first half, of the second, of both.
halves() {
  columns /ranks/series "$1" rank time_s tokens_fed >"$work/series"
  awk -v dilation="$dilation" -v half=$((texts * (tokens + 1))) "$course"'
    END { low = 0; high = last
          while (high - low > 1e-4) { t = (low + high) / 2; if (at(t) < half) low = t; else high = t }
          print rate(0, low), rate(low, last), rate(0, last) }' "$work/series"
}
# changes RESULTS RUN: lines of the table of changes. Times of the device in slow motion.
changes() {
  columns /ranks/series "$1" rank time_s tokens_fed >"$work/series"
  columns /rebalance "$1" time moves bytes staging rank_seconds predicted measured >"$work/changes"
  awk -v dilation="$dilation" -v run="$2" -v expert_mb="$expert_mb" -v window="$(awk "BEGIN { print 4 * $interval }")" "$course"'
    function ms(s) { return s ~ /nan/ ? "-" : sprintf("%.3f", 1e3 * s / dilation) }
    NF == 7 && $2 > 0 { printf "| %d | %.4f | %d | %.1f | %s | %s | %s | %s | %.3f | %s |\n", run, $1 / dilation, $2, $2 * expert_mb, ms($4), ms($5),
      shown($1 - $4 - window, $1 - $4), shown($1, $1 + window), $6 / dilation, $7 ~ /nan/ ? "-" : sprintf("%.3f", $7 / dilation) }' "$work/series" "$work/changes"
}

texts $first $((tokens + 1)) "$texts" >"$work/first.jsonl"
trace=$(run trace first --set placement.record_trace=true)
static=(--set placement.planner=trace_lpt --set placement.trace="$work/trace" --set placement.trace_steps=1000)
# Of some second sets the one that the placement of the first suits least.
worst=0
for other in $seconds; do
  texts "$other" "$tokens" 8 >"$work/some.jsonl"
  imbalance=$(value imbalance "$(run some some "${static[@]}")")
  awk -v a="$imbalance" -v b="$worst" 'BEGIN { exit !(a > b) }' || continue
  worst=$imbalance second=$other
done
texts "$second" "$tokens" "$texts" >"$work/second.jsonl"
cat "$work/first.jsonl" "$work/second.jsonl" >"$work/both.jsonl"
periodic=(--set rebalance.interval_s="$interval" --set rebalance.horizon_s="$horizon" --set rebalance.spare_places=4)

say '# Experts that move while a job runs\n\n'
say '`jobs/bench_rebalance.sh%s`, %s, %s cores of %s, commit %s: %s colocated ranks, %s texts of %s tokens in each half. ' "$([ $slow = no ] || echo ' --slow')" \
  "$(date +%F)" "$(getconf _NPROCESSORS_ONLN)" "$(sed -nE 's/^model name\s*: //p' /proc/cpuinfo | head -1)" "$(git rev-parse --short HEAD)" "$ranks" "$texts" "$tokens"
say 'Under the placement of the first half, the busiest rank has %s times the mean of rows in the second. ' "$worst"
say 'Rebalancing looks at the loads every %s s and counts with %s s.\n' "$interval" "$horizon"
[ $slow = no ] || say '**Emulated**: H100s with the sizes of Qwen3-30B-A3B and 12 layers, dilation %s; times and rates are those of the device, weights that move take the time of their link.\n' "$dilation"
line=$(run warm first "${static[@]}" "$@")
digest=
: >"$work/change-lines"
for number in $(seq "$runs"); do
  for name in static periodic; do
    extra=()
    [ $name = static ] || extra=("${periodic[@]}")
    line=$(run "$name" both "${static[@]}" "${extra[@]}" "${device[@]}" "$@")
    [ "$(value digest "$line")" = "${digest:=$(value digest "$line")}" ] || { echo "the digests differ"; exit 1; }
    [ $slow = no ] || [ "$(value emulation_valid "$line")" = true ] || say '\nRun %s, %s, DOES NOT COUNT: %s\n' "$number" "$name" "$(grep '^emulated: valid' "$work/stderr")"
    read -r a b c <<<"$(halves $name)"
    echo "$a" >>"$work/$name-a"; echo "$b" >>"$work/$name-b"; echo "$c" >>"$work/$name-c"
    echo "$(value imbalance "$line") $(value compute_share "$line")" >"$work/$name-last"
    [ $name = static ] || changes $name "$number" >>"$work/change-lines"
  done
done
say '\n## Tokens/s, median of %s runs in turn\n\n| part | experts stay | experts move | ratio |\n|---|---:|---:|---:|\n' "$runs"
for part in a:first\ half b:second\ half c:all; do
  stay=$(middle <"$work/static-${part%%:*}") move=$(middle <"$work/periodic-${part%%:*}")
  say '| %s | %s | %s | %.3f |\n' "${part#*:}" "$stay" "$move" "$(awk "BEGIN { print $move / $stay }")"
done
read -r stay share <"$work/static-last"
read -r move move_share <"$work/periodic-last"
say '\nRows of the busiest rank over the mean, whole job, last runs: %s where experts stay, %s where they move.\n' "$stay" "$move"
[ $slow = no ] || say 'Real computation took %s and %s of the time of a core (30 %% are allowed).\n' "$share" "$move_share"
say '\n## Changes of the placement\n\nTokens/s in %s s on the clock before the decision and after the switch. Gains are over the horizon.\n\n' "$(awk "BEGIN { print 4 * $interval }")"
say '| run | at, s | experts | MB | decision to switch, ms | ranks copying, ms | tokens/s before | after | to save, s | saved, s |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n'
say '%s\n' "$(cat "$work/change-lines")"
say '\n## What that cost the ranks, last run\n\nTimes on the clock%s.\n\n' "$([ $slow = no ] || echo ', copying apart, which is emulated')"
say '| rank | experts received | MB copied | copying, ms | on the placement in all, ms | longest turn, ms | longest expert call, ms |\n|---|---:|---:|---:|---:|---:|---:|\n'
say '%s\n' "$(columns /rebalance/ranks periodic rank experts_received bytes_staged staging_seconds total_seconds largest_stall longest_expert_call |
  awk '{ printf "| %d | %d | %.1f | %.2f | %.2f | %.3f | %.3f |\n", $1, $2, $3 * 1e-6, 1e3 * $4, 1e3 * $5, 1e3 * $6, 1e3 * $7 }')"
