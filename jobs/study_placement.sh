#!/usr/bin/env bash
# Planners of expert placement (linear, eplb, speed_lpt, trace_lpt, and gem: GEM-style, reconstructed) where expert ranks differ in speed
# by 0, 7.7, 15 and 27.7 %, on 4 and 8 ranks in slow motion, planned on a trace of one data set and measured on another. At 0 % the
# planners that know speeds have nothing to use: the negative control. Options as those of bench_async.sh.
#   ./jobs/study_placement.sh [--quick] [--out FILE.h5] [--markdown FILE.md]
set -eu
cd "$(dirname "$0")/.."
./cmake/install_debian.sh
cmake --preset release >/dev/null
cmake --build --preset release --target moebius moebius_study >/dev/null
exec build/moebius_study placement "$@"
