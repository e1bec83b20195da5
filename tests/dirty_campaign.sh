#!/usr/bin/env bash
# A million rows, one in a hundred bad in one of twenty ways (system/dirty_rows_test.sh has some thousands). For people, not for
# CI: some minutes.
#   tests/dirty_campaign.sh [ROWS [SEED [RANKS]]]      default: 1000000 1 2
build=$(cd "$(dirname "$0")/.." && pwd)/build
export MOEBIUS=${MOEBIUS:-$build/moebius} DIRTY_ROWS=${DIRTY_ROWS:-$build/tests/system/dirty_rows}
. "$(dirname "$0")/system/lib.sh"
MPIRUN=${MPIRUN:-$top/tests/support/mpirun.sh}
. tests/support/dirty_rows.sh
judge_dirty_rows "${1:-1000000}" "${2:-1}" "${3:-2}"
finish
