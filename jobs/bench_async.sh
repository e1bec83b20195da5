#!/usr/bin/env bash
# Asynchronous execution beside lock-step: in real time with 2 ranks, and in slow motion with 2 to 16 ranks as H100s that run
# Mixtral-8x7B, Qwen3-30B-A3B and DeepSeek-V3 sizes; decode and prefill, top-k, router skew, lengths, a slow rank. Prints a table (and
# the cells where lock-step wins), and writes all figures to one HDF5 file. Run again it goes on where it was stopped, and runs again what did not count.
#   ./jobs/bench_async.sh [--quick] [--only TEXT] [--out FILE.h5] [--markdown FILE.md]
#       --quick: one or two cells in 15 s; --only "top-k": cells of a section, or with a text in their name
set -eu
cd "$(dirname "$0")/.."
./cmake/install_debian.sh
cmake --preset release >/dev/null
cmake --build --preset release --target moebius moebius_study >/dev/null
exec build/moebius_study async "$@"
