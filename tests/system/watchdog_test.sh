#!/usr/bin/env bash
# A rank that stops dead (SIGSTOP) ends the whole job within the watchdog's time, with exit code 71 and a
# table of who waits for whom, and leaves no process behind. So does rank 0, which has the counters of all: where one-sided
# operations are made in software, the others then wait inside of MPI and do not come back to their loops.
. "$(dirname "$0")/lib.sh"
job_file=$(job inputs/data/heldout_text.jsonl "$work/out")
wait_a_little() { read -r -t 0.05 <> <(:) || true; }

# stalled VARIANT RANK [ENV=VALUE...]
stalled() {
  local variant=$1 rank=$2 launcher code=0 ranks=() begin pid
  shift 2
  rm -rf "$work/out"
  "$MPIRUN" "$variant" 3 env "$@" "$MOEBIUS" run "$job_file" --set run.watchdog_s=3 --set run.rows_per_block=4 >"$work/stdout" 2>"$work/stderr" &
  launcher=$!
  # Stop one once the job is under way.
  for _ in $(seq 400); do
    if grep -q '"kind":"block"' "$work/out/journal" 2>/dev/null; then mapfile -t ranks < <(ranks_of "$launcher") && break; fi
    kill -0 "$launcher" 2>/dev/null || break
    wait_a_little
  done
  [ ${#ranks[@]} -eq 3 ] || { wait "$launcher" || code=$?; [ $code -eq 77 ] || fail "$variant: the job did not start: $(cat "$work/stdout" "$work/stderr")"; return 0; }
  kill -STOP "${ranks[$rank]}"
  begin=$SECONDS
  wait "$launcher" || code=$?
  # A rank that ends while it waits inside of MPI ends alone: the launcher of MPICH then kills the others, and says their code
  # (9) at times.
  [ "$code" -ne 9 ] || [ "${MOEBIUS_TEST_MPI:-}" != mpich ] || [ "$rank" -ne 0 ] || code=71
  [ "$code" -eq 71 ] || fail "$variant, rank $rank: exit code $code, expected 71: $(cat "$work/stderr")"
  [ $((SECONDS - begin)) -le 20 ] || fail "$variant, rank $rank: took $((SECONDS - begin)) s"
  grep -q 'the job stands still' "$work/stderr" || fail "$variant, rank $rank: no explanation: $(cat "$work/stderr")"
  grep -q 'waits for' "$work/stderr" || fail "$variant, rank $rank: no table: $(cat "$work/stderr")"
  for pid in "${ranks[@]}"; do
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; wait_a_little; done
    ! kill -0 "$pid" 2>/dev/null || { fail "$variant, rank $rank: the rank with pid $pid is still there"; kill -KILL "$pid"; }
  done
}
stalled default 2
if [ "${MOEBIUS_TEST_MPI:-}" = mpich ]; then
  stalled default 0
  grep -q 'has waited inside of MPI for 3.0 s and more) see whom it waits for: rank 0 ' "$work/stderr" || fail "not said: $(cat "$work/stderr")"
else
  stalled ucx 0 MOEBIUS_SHARED_MEMORY=off
fi
finish
