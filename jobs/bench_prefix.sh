#!/usr/bin/env bash
# What prefix reuse is worth: the endings of inputs/data with 16 other rows of the file, answered, in front of
# each, scored with limits.prefix_cache on and off. Prints hit rate, tokens/s and speed-up for 1 and 2 ranks;
# the digests must agree. Needs build/moebius (jobs/quickstart.sh makes it) and an idle machine.
#   ./jobs/bench_prefix.sh [REQUESTS] [COMPUTE]     default: 484 bf16
set -eu
cd "$(dirname "$0")/.."
num_requests=${1:-484}
compute=${2:-bf16}
. ./jobs/mpi_env.sh
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# The first 16 rows become the examples: context and right continuation, as they stand in the JSON text.
awk -v num_shots=16 -v num_requests="$num_requests" '
  function text_at(line) { match(line, /"(\\.|[^"\\])*"/); return substr(line, RSTART + 1, RLENGTH - 2) }
  {
    context = text_at(substr($0, index($0, "\"context\": ") + 11))
    if (NR > num_shots) {
      if (NR > num_shots + num_requests) exit
      at = index($0, "\"context\": \"") + 12
      print substr($0, 1, at - 1) shots substr($0, at)
      next
    }
    rest = substr($0, index($0, "\"continuations\": ") + 17)
    match($0, /"label": [0-9]+/)
    label = substr($0, RSTART + 9, RLENGTH - 9)
    for (i = 0; i <= label; ++i) {
      ending = text_at(rest)
      rest = substr(rest, RSTART + RLENGTH)
    }
    shots = shots context ending "\\n\\n"
  }' inputs/data/endings.jsonl >"$out/shots.jsonl"

value() { sed -nE "s/.*\"$1\": ?\"?([^\",}]*).*/\1/p" <<<"$line"; }
printf '%-7s %5s %7s %9s %9s %10s %10s %8s  %s\n' compute ranks cache 'hit rate' evicted 'seconds' tokens/s speed-up digest
for ranks in 1 2; do
  seconds_off=
  for cache in false true; do
    line=$(mpirun --oversubscribe -n "$ranks" build/moebius run inputs/score.toml --force-new --set "input.path=$out/shots.jsonl" \
      --set "output.path=$out/results" --set layout.mode=colocated --set "model.compute=$compute" --set run.progress=off \
      --set "limits.prefix_cache=$cache" 2>"$out/stderr" | grep '^{') || { cat "$out/stderr" >&2; exit 1; }
    seconds=$(value loop_s)
    seconds_off=${seconds_off:-$seconds}
    digest=${digest:-$(value digest)}
    [ "$(value digest)" = "$digest" ] || { echo "bench_prefix.sh: other bits with $ranks ranks, cache $cache" >&2; exit 1; }
    awk -v c="$compute" -v r="$ranks" -v on="$cache" -v asked="$(value root_tokens)" -v reused="$(value root_tokens_reused)" \
      -v fed="$(value tokens_fed)" -v s="$seconds" -v off="$seconds_off" -v e="$(value kv_blocks_evicted)" -v d="$digest" 'BEGIN {
        printf "%-7s %5d %7s %7.1f %% %9d %10.2f %10.0f %8.2f  %s\n", c, r, on, 100 * reused / asked, e, s, (fed + reused) / s, off / s, d }'
  done
done
