#!/usr/bin/env bash
# --force-new killed at every operation on the folder: either the old results are whole and another job is refused there, or
# they are gone and any job begins afresh, also without --force-new.
. "$(dirname "$0")/lib.sh"
. tests/support/kills.sh
sed -n '1,3p;26p' tests/data/mixed.jsonl >"$work/input.jsonl"
old_job=$(job "$work/input.jsonl" "$work/old")
new_job=$(job "$work/input.jsonl" "$work/out")
printf 'seed = 5\n' >>"$new_job"   # the last section is [run]

"$MOEBIUS" run "$old_job" --set run.rows_per_block=2 >"$work/stdout" 2>"$work/stderr" || fail "$(cat "$work/stderr")"
old_digest=$(value digest <"$work/stdout")
"$MOEBIUS" run "$new_job" >"$work/stdout" 2>"$work/stderr" || fail "$(cat "$work/stderr")"
digest=$(value digest <"$work/stdout")

# killed_at OPERATION: one run; its exit code.
killed_at() {
  (
    LD_PRELOAD=$IO_FAULTS MOEBIUS_FAULT="kill@$1" MOEBIUS_FAULT_DIR=$work/out "$MOEBIUS" run "$new_job" --force-new >"$work/stdout" 2>"$work/stderr"
    echo $?
  ) 2>/dev/null
}
has_begun() { [ -e "$work/out/journal" ] && [ "$(grep -c '"kind":"start"' "$work/out/journal")" -eq 1 ] && ! grep -q '"kind":"block"' "$work/out/journal"; }

kept=0 gone=0 begun=0 code=137
for ((operation = 1; begun < 3 && operation < 200; operation++)); do   # a little beyond the beginning of the new run
  rm -rf "$work/out"
  cp -r "$work/old" "$work/out"
  code=$(killed_at "$operation")
  [ "$code" -eq 137 ] || { fail "operation $operation: exit code $code, expected 137: $(cat "$work/stderr")"; break; }
  ! has_begun || begun=$((begun + 1))
  again=0
  "$MOEBIUS" run "$new_job" >"$work/stdout" 2>"$work/stderr" || again=$?
  if [ $again -eq 2 ]; then
    kept=$((kept + 1))
    grep -q 'run.seed was 0 and is 5' "$work/stderr" || fail "killed at operation $operation: $(cat "$work/stderr")"
    "$MOEBIUS" verify "$work/out" >"$work/stdout" 2>&1 || fail "killed at operation $operation: $(cat "$work/stdout")"
    grep -q "$old_digest" "$work/stdout" || fail "killed at operation $operation: other results than before: $(cat "$work/stdout")"
  else
    gone=$((gone + 1))
    [ $again -eq 0 ] || fail "killed at operation $operation: exit code $again: $(cat "$work/stderr")"
    [ "$(value digest <"$work/stdout")" = "$digest" ] || fail "killed at operation $operation: other bits"
    "$MOEBIUS" verify "$work/out" >"$work/stdout" 2>&1 || fail "killed at operation $operation: $(cat "$work/stdout")"
    [ ! -e "$work/out/journal.discarded" ] || fail "killed at operation $operation: the mark is still there"
  fi
done
[ $begun -eq 3 ] || fail "no kill behind the beginning of the new run"
[ $kept -gt 3 ] && [ $gone -gt 10 ] || fail "killed $kept times before and $gone times after the old results were gone"
echo "killed $kept times before and $gone times after the old results were gone"
finish
