#!/usr/bin/env bash
# Installs what is missing, builds, and runs all tests: the release build (unit, MPI, system, style), and the unit tests
# again under the address and undefined-behaviour sanitizers.
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
check() {  # check PRESET [CTEST OPTIONS]
  echo "== $1: test"
  ctest --preset "$@"
}
export -f build check

build release
# Tests of whole jobs wait as much as they compute: the sanitizers' build and tests fill the gaps, in a process group of
# their own, which ends with this script.
log=build/sanitize.log
set -m
nice -n 19 bash -euc 'build sanitize; check sanitize "$@"' - "$@" >"$log" 2>&1 </dev/null &
set +m
trap "kill -- -$! 2>/dev/null || true" EXIT
check release "$@" && passed=1 || passed=0
wait $! && sanitized=1 || sanitized=0
cat "$log"
[ $passed$sanitized = 11 ]
