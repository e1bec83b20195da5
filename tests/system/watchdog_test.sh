#!/usr/bin/env bash
# A rank that stops dead (SIGSTOP) ends the whole job within the watchdog's time, with exit code 71 and a
# table of who waits for whom, and leaves no process behind.
. "$(dirname "$0")/lib.sh"
job_file=$(job inputs/data/heldout_text.jsonl "$work/out")
"$MPIRUN" default 3 "$MOEBIUS" run "$job_file" --set run.watchdog_s=3 >"$work/stdout" 2>"$work/stderr" &
launcher=$!

# The ranks are the launcher's children; stop one once the job is under way (the first block directory).
victim=
for _ in $(seq 200); do
  if [ -e "$work/out/journal" ]; then
    victim=$(ranks_of "$launcher" | tail -1)
    [ -z "$victim" ] || break
  fi
  read -r -t 0.05 <> <(:) || true
done
[ -n "$victim" ] || { fail "the job did not start: $(cat "$work/stderr")"; kill "$launcher" 2>/dev/null || true; finish; }
ranks=$(ranks_of "$launcher")
kill -STOP "$victim"

code=0
wait "$launcher" || code=$?
[ "$code" -eq 71 ] || fail "exit code $code, expected 71: $(cat "$work/stderr")"
grep -q 'the job stands still' "$work/stderr" || fail "no explanation: $(cat "$work/stderr")"
grep -q 'waits for' "$work/stderr" || fail "no table: $(cat "$work/stderr")"
for pid in $ranks; do
  for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; read -r -t 0.05 <> <(:) || true; done
  ! kill -0 "$pid" 2>/dev/null || { fail "rank with pid $pid is still there"; kill -KILL "$pid"; }
done
finish
