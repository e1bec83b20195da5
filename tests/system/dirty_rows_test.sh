#!/usr/bin/env bash
# One row in a hundred is bad, in one of twenty ways: each gets its status and message, the others have the bits that they have
# alone, memory grows by an index only, --strict and run.max_errors make an error of it.
. "$(dirname "$0")/lib.sh"
. tests/support/dirty_rows.sh
judge_dirty_rows 2000 1 2
small_peak=$rank0_peak
judge_dirty_rows 20000 2 2
# An index of offsets and hashes, rows of a block, what each library keeps: below 1.5 KB a row, and 20 000 rows are few for that.
[ $((rank0_peak - small_peak)) -lt $((18000 * 1500)) ] || fail "memory grew by $((rank0_peak - small_peak)) bytes for 18000 rows more"

again() {  # again CODE ARGS...: the job of the dirty rows
  local code=$1 got=0
  shift
  "$MPIRUN" default 2 "$MOEBIUS" run "$dirty" --set run.rows_per_block=256 "$@" >"$work/stdout" 2>"$work/stderr" || got=$?
  [ "$got" -eq "$code" ] || fail "$*: exit code $got, expected $code: $(tail -3 "$work/stderr")"
}
says() { grep -qE "$1" "$work/stderr" || fail "not said: /$1/ in: $(cat "$work/stderr")"; }
again 3 --strict
again 0 --max-errors "$bad"
again 3 --max-errors $((bad - 1))
says "^moebius: $bad rows failed \(run.max_errors allows $((bad - 1))\) see"

# Ended early, long before the last row; as it is it ends again at once; with a larger number it goes on.
again 3 --force-new --set run.max_errors=10
says '^moebius: stopped before the end \(too many rows failed; [0-9]+ rows are committed, [0-9]+ requests are left\)'
says '^moebius: [0-9]+ rows failed \(run.max_errors allows 10\) .* goes on where it stopped'
left=$(value requests_left <"$work/stdout")
[ "$left" -gt 0 ] || fail "nothing is left of a job with too many errors"
[ ! -e "$work/dirty/results.h5" ] || fail "results.h5 was written of a job that ended early"
# Errors of earlier runs count: it ends with what it has claimed before it looks.
again 3 --max-errors 10
[ "$(value requests_left <"$work/stdout")" -gt $((left - 600)) ] || fail "a job with too many errors went on from $left to $(value requests_left <"$work/stdout") requests left"
again 0 --max-errors 1000
[ "$(value rows_before <"$work/stdout")" -gt 0 ] || fail "a job with a larger max_errors began from the start"
"$DIRTY_ROWS" check "$work/dirty" "$work/expected" >"$work/judged" 2>&1 || fail "after going on: $(cat "$work/judged")"
[ "$(value digest <"$work/judged")" = "$digest" ] || fail "after going on: other bits"
finish
