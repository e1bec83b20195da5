#!/usr/bin/env bash
# Every benchmark of the project: kernels, token rings between two ranks, and whole jobs in tokens/s on 1, 2
# and 4 ranks. Give it an idle machine. Options go to the program (Google Benchmark):
#   ./jobs/bench.sh [--benchmark_filter=gemm|attention|ring|job]
set -eu
cd "$(dirname "$0")/.."
./cmake/install_debian.sh
cmake --preset release >/dev/null
cmake --build --preset release --target moebius moebius_bench >/dev/null
. ./jobs/mpi_env.sh
exec build/moebius_bench --benchmark_counters_tabular=true "$@"
