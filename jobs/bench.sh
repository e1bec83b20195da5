#!/usr/bin/env bash
# Every benchmark of the project as tables: kernels (Google Benchmark), rings between two ranks, and whole
# jobs in tokens/s on 1, 2 and 4 ranks with where the time went. Give it an idle machine.
#   ./jobs/bench.sh [kernels|ring|jobs]...         default: all three
set -eu
cd "$(dirname "$0")/.."
parts=${*:-kernels ring jobs}
./cmake/install_debian.sh
cmake --preset release >/dev/null
cmake --build --preset release --target moebius moebius_bench moebius_ring_bench >/dev/null
. ./jobs/mpi_env.sh

bench_jobs() {
  local out job compute ranks mode line base rate
  out=$(mktemp -d)
  printf '%-12s %-5s %5s %-10s %10s %8s  %s\n' job type ranks layout tokens/s ratio 'share of a rank outside compute and waiting for rows'
  for compute in fp32 bf16; do
    for job in score perplexity generate; do
      base=
      for layout in 1:colocated 2:colocated 2:split 4:split; do
        ranks=${layout%%:*} mode=${layout##*:}
        line=$(mpirun --oversubscribe -n "$ranks" build/moebius run "inputs/$job.toml" --set "output.path=$out/r" --force-new \
          --set "layout.mode=$mode" --set "model.compute=$compute" --set run.progress=off 2>/dev/null | grep '^{')
        rate=$(sed -E 's/.*"tokens_per_s":([0-9.]+).*/\1/' <<<"$line")
        base=${base:-$rate}
        printf '%-12s %-5s %5s %-10s %10.0f %8.2f  %s\n' "$job" "$compute" "$ranks" "$mode" "$rate" \
          "$(awk "BEGIN { print $rate / $base }")" "$(sed -E 's/.*"overhead_share":([0-9.]+).*"peak_rss_bytes":([0-9]+).*/\1  (peak \2 bytes)/' <<<"$line")"
      done
    done
  done
  rm -rf "$out"
}
for part in $parts; do
  case $part in
    kernels) build/moebius_bench ;;
    ring) mpirun --oversubscribe -n 2 build/moebius_ring_bench ;;
    jobs) bench_jobs ;;
    *) echo "bench.sh: unknown part $part (it is none of kernels, ring, jobs) name one of them" >&2; exit 2 ;;
  esac
done
