#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests: the release build (unit, MPI, system, style),
# then the unit tests again under the address and undefined-behaviour sanitizers.
#   ./tests/run.sh [CTEST OPTIONS]                 for example: ./tests/run.sh -R ring
set -eu
cd "$(dirname "$0")/.."
./cmake/install_debian.sh
. ./jobs/mpi_env.sh

run() {  # run PRESET [CTEST OPTIONS]
  local preset=$1
  shift
  echo "== $preset: configure and build"
  cmake --preset "$preset" >"build-$preset.log" 2>&1 || { cat "build-$preset.log" >&2; exit 1; }
  rm -f "build-$preset.log"
  cmake --build --preset "$preset"
  echo "== $preset: test"
  ctest --preset "$preset" "$@"
}
run release "$@"
run sanitize "$@"
