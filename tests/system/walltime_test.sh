#!/usr/bin/env bash
# A run that is told to stop, by a signal to a rank or the launcher, its walltime or Slurm's: it commits what is finished,
# ends with 75 in time, and the next run has only the rest to do.
. "$(dirname "$0")/lib.sh"
input=inputs/data/heldout_text.jsonl
job_file=$(job "$input" "$work/out")
# Slow experts, so that there is something to stop; a small budget, so that what is in flight does not take long.
slowly=(--set "placement.emulated_slowdown=[10]" --set limits.max_tokens_in_flight=64 --set run.rows_per_block=4)
wait_a_little() { read -r -t 0.05 <> <(:) || true; }

"$MPIRUN" default 2 "$MOEBIUS" run "$(job "$input" "$work/undisturbed")" --set layout.mode=colocated >"$work/stdout" 2>"$work/stderr" ||
  fail "$(cat "$work/stderr")"
digest=$(value digest <"$work/stdout")

# start ARGS: the job on 3 ranks, 2 with attention; it has committed rows when this returns.
start() {
  rm -rf "$work/out"
  "$MPIRUN" default 3 "$MOEBIUS" run "$job_file" "${slowly[@]}" "$@" >"$work/stdout" 2>"$work/stderr" &
  launcher=$!
  for _ in $(seq 400); do grep -q '"kind":"block"' "$work/out/journal" 2>/dev/null && break; wait_a_little; done
  mapfile -t ranks < <(ranks_of "$launcher")
}
# stopped WHAT: the job ends with 75, has committed rows and written no results.h5.
stopped() {
  local code=0
  wait "$launcher" || code=$?
  [ "$code" -eq 75 ] || fail "$1: exit code $code, expected 75: $(cat "$work/stderr")"
  grep -qE '^moebius: stopped before the end \(.*\) run the job again' "$work/stderr" || fail "$1: not said: $(cat "$work/stderr")"
  [ ! -e "$work/out/results.h5" ] || fail "$1: results.h5 was written"
  [ "$(value requests_left <"$work/stdout")" -gt 0 ] || fail "$1: nothing is left: $(cat "$work/stdout")"
}
# goes_on WHAT RANKS ARGS: the next run finishes the job.
goes_on() {
  local what=$1
  shift
  "$MPIRUN" default "$1" "$MOEBIUS" run "$job_file" "${@:2}" >"$work/stdout" 2>"$work/stderr" || fail "$what, again: $(cat "$work/stderr")"
  [ "$(value digest <"$work/stdout")" = "$digest" ] || fail "$what, again: other bits"
  [ "$(value rows_before <"$work/stdout")" -gt 0 ] || fail "$what, again: nothing was kept"
  "$MOEBIUS" verify "$work/out" >"$work/verified" || fail "$what: $(cat "$work/verified")"
}

# A signal to an attention rank, an expert rank, the launcher, which passes SIGUSR1 on; a second one while the first works.
start; kill -USR1 "${ranks[1]}"; stopped "SIGUSR1 to an attention rank"; goes_on "SIGUSR1 to an attention rank" 2
start; kill -TERM "${ranks[2]}"; stopped "SIGTERM to an expert rank"
start --set schedule.execution=lockstep --set run.grace_s=0.2; kill -USR1 "${ranks[1]}"; stopped "SIGUSR1 in lock-step"; goes_on "SIGUSR1 in lock-step" 2
start --set schedule.execution=pipeline --set layout.attention_ranks=2 --set run.grace_s=0.2; kill -USR1 "${ranks[1]}"; stopped "SIGUSR1 in a pipeline"; goes_on "SIGUSR1 in a pipeline" 2
start --set run.grace_s=1000; kill -USR1 "$launcher"; wait_a_little; kill -TERM "${ranks[0]}"; stopped "SIGUSR1 to the launcher, then SIGTERM"
goes_on "SIGUSR1 to the launcher, then SIGTERM" 3 --set layout.mode=colocated

# While weights are loaded: the expert rank stops before it reads any, gets the signal there, and no rank begins the loop.
while_loading() {  # while_loading WHAT: on what is in the folder
  local code=0
  : >"$work/log"
  "$MPIRUN" default 3 env LD_PRELOAD="$IO_FAULTS" MOEBIUS_FAULT=stopmap@4 MOEBIUS_FAULT_RANK=2 MOEBIUS_FAULT_LOG="$work/log" \
    "$MOEBIUS" run "$job_file" >"$work/stdout" 2>"$work/stderr" &
  launcher=$!
  for _ in $(seq 400); do grep -q '^fault stopmap' "$work/log" && break; wait_a_little; done
  kill -USR1 "$(sed -n 's/^pid 2 //p' "$work/log")"
  kill -CONT "$(sed -n 's/^pid 2 //p' "$work/log")"
  wait "$launcher" || code=$?
  [ $code -eq 75 ] || fail "$1: exit code $code, expected 75: $(cat "$work/stderr")"
  [ "$(grep -c '^moebius: stopped before the end (a signal came while the job was loaded; nothing was computed) run the job again' "$work/stderr")" -eq 1 ] ||
    fail "$1: not said once: $(cat "$work/stderr")"
  [ ! -e "$work/out/lock" ] || fail "$1: the lock is still there"
}
start; kill -USR1 "${ranks[1]}"; stopped "a signal before another one while loading"
while_loading "a signal while a resumed job is loaded"
goes_on "a signal while a resumed job is loaded" 2
rm -rf "$work/out"
while_loading "a signal while a job is loaded"
[ ! -e "$work/out" ] || fail "a signal while a job is loaded: results were begun"

# A walltime: at its end nothing is left to do; each run gets further until one finishes.
limited() {  # limited WHAT SECONDS ENV=VALUE... -- ARGS
  local what=$1 limit_ms=$(($2 * 1000)) settings=() code=0 loop_ms
  shift 2
  while [ "$1" != -- ]; do settings+=("$1"); shift; done
  shift
  rm -rf "$work/out"
  "$MPIRUN" default 2 env "${settings[@]}" "$MOEBIUS" run "$job_file" "${slowly[@]}" "$@" >"$work/stdout" 2>"$work/stderr" || code=$?
  [ "$code" -eq 75 ] || fail "$what: exit code $code, expected 75: $(cat "$work/stderr")"
  loop_ms=$(value loop_s <"$work/stdout" | awk '{ printf "%d", 1000 * $1 }')
  [ "$loop_ms" -lt $((limit_ms - 500)) ] || fail "$what: rows were computed for $loop_ms ms, allowed were $limit_ms"
}
limited "--walltime" 4 A=b -- --walltime 0:04
goes_on "--walltime" 2
mkdir "$work/bin"
printf '#!/bin/sh\n[ "$*" = "-h -j 77 -o %%L" ] && echo 0:04\n' >"$work/bin/squeue"
chmod +x "$work/bin/squeue"
limited "squeue" 4 SLURM_JOB_ID=77 PATH="$work/bin:$PATH" --
goes_on "squeue" 3
finish
