#!/usr/bin/env bash
# Thousands of kills, by hand: tests/system/kill_test.sh with one seed after the other. Builds nothing; stops at the first
# failure, whose seed is printed.
#   tests/kill_campaign.sh [KILLS [FIRST_SEED]]        default: 5000, 1000
set -eu
cd "$(dirname "$0")/.."
. jobs/mpi_env.sh
kills=${1:-5000} seed=${2:-1000} done=0
build=${BUILD:-$PWD/build}
export MOEBIUS=$build/moebius MPIRUN=$PWD/tests/support/mpirun.sh IO_FAULTS=$build/tests/system/libio_faults.so
while [ "$done" -lt "$kills" ]; do
  text=$(tests/system/kill_test.sh 100 "$seed") || { echo "$text"; echo "seed $seed failed after $done kills"; exit 1; }
  echo "seed $seed: ${text%$'\n'*}"
  done=$((done + 100)) seed=$((seed + 1))
done
echo "$done kills, no row lost, none twice"
