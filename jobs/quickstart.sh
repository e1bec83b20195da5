#!/usr/bin/env bash
# From a fresh clone to scored results: installs missing packages, builds build/moebius, runs the main
# job on 4 ranks (2 attention, 2 expert) and shows its first results.
#   ./jobs/quickstart.sh [JOB.toml] [RANKS]        default: inputs/score.toml 4
set -eu
cd "$(dirname "$0")/.."
job=${1:-inputs/score.toml}
ranks=${2:-4}

./cmake/install_debian.sh
cmake --preset release >build.log 2>&1 || { cat build.log >&2; exit 1; }
rm -f build.log
cmake --build --preset release --target moebius

. ./jobs/mpi_env.sh
# --force-new: a second quickstart computes again instead of saying that it is all there.
mpirun --oversubscribe -n "$ranks" build/moebius run "$job" --force-new
