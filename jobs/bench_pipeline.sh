#!/usr/bin/env bash
# Pipelines (FinDEP, ping-pong) beside asynchronous execution, colocated lock-step and, where it fits, whole models on each rank: in slow
# motion as H100s that run DeepSeek-V2, Qwen3-235B-A22B and Qwen3-30B-A3B sizes, sequences of 1024 to 8192 tokens, NVLink, PCIe and network, 8
# and 32 ranks; in real time with 2 ranks. What `moebius plan` says of each cell, and what was measured. Prints a table, and writes all
# figures to one HDF5 file. Run again it goes on where it was stopped, and runs again what did not count.
#   ./jobs/bench_pipeline.sh [--quick] [--only TEXT] [--out FILE.h5] [--markdown FILE.md]
#       --quick: two cells in half a minute; --only "32 ranks": cells with a text in their name
set -eu
cd "$(dirname "$0")/.."
./cmake/install_debian.sh
cmake --preset release >/dev/null
cmake --build --preset release --target moebius moebius_study >/dev/null
exec build/moebius_study pipeline "$@"
