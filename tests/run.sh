#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests: the release build (unit, MPI, system, style), what starts ranks again with
# MPICH, then the unit tests again under the address and undefined-behaviour sanitizers.
#   ./tests/run.sh [CTEST OPTIONS]                 for example: ./tests/run.sh -R ring
set -eu
cd "$(dirname "$0")/.."
./cmake/install_debian.sh
. ./jobs/mpi_env.sh

build() {  # build PRESET
  echo "== $1: configure and build"
  cmake --preset "$1" >"build-$1.log" 2>&1 || { cat "build-$1.log" >&2; exit 1; }
  rm -f "build-$1.log"
  cmake --build --preset "$1"
}
build release
echo "== release: test"
ctest --preset release -LE mpich "$@"
echo "== release: test with MPICH"
ctest --preset release -L mpich --no-tests=ignore "$@"
build sanitize
echo "== sanitize: test"
ctest --preset sanitize "$@"
