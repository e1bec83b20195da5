#!/usr/bin/env bash
# A disk that fails and ranks that stall or die: the job goes on or ends with the documented exit code and a message that
# names the file or the rank, no process is left over, and a later run has the digest of the undisturbed one.
. "$(dirname "$0")/lib.sh"
. tests/support/kills.sh
sed -n '1,8p;26,29p' tests/data/mixed.jsonl >"$work/input.jsonl"
job_file=$(job "$work/input.jsonl" "$work/out")
long_job=$(job inputs/data/heldout_text.jsonl "$work/out")
wait_a_little() { read -r -t 0.05 <> <(:) || true; }

"$MOEBIUS" run "$(job "$work/input.jsonl" "$work/undisturbed")" >"$work/stdout" 2>"$work/stderr" || fail "$(cat "$work/stderr")"
digest=$(value digest <"$work/stdout")

# run CODE RANKS ENV=VALUE... -- ARGS: one run of the job with faults.
run() {
  local code=$1 ranks=$2 settings=() got=0
  shift 2
  while [ "$1" != -- ]; do settings+=("$1"); shift; done
  shift
  : >"$work/log"
  "$MPIRUN" default "$ranks" env LD_PRELOAD="$IO_FAULTS" MOEBIUS_FAULT_DIR="$work/out" MOEBIUS_FAULT_LOG="$work/log" "${settings[@]}" \
    "$MOEBIUS" run "$job_file" --set run.rows_per_block=2 "$@" >"$work/stdout" 2>"$work/stderr" || got=$?
  [ "$got" -eq "$code" ] || fail "${settings[*]}: exit code $got, expected $code: $(cat "$work/stderr")"
  [ "$code" -ne 0 ] || [ "$(value digest <"$work/stdout")" = "$digest" ] || fail "${settings[*]}: digest $(value digest <"$work/stdout"), expected $digest"
  no_process_left "$work/log" || fail "${settings[*]}: a process is left over"
}
says() { grep -qE "$1" "$work/stderr" || fail "not said: /$1/ in: $(cat "$work/stderr")"; }

# A full disk, at the start, in a block, in the journal, in results.h5: 72, and with room again the job goes on.
for operation in 2 16 24 145; do
  rm -rf "$work/out"
  run 72 1 MOEBIUS_FAULT="full@$operation" --
  says "^moebius: .*$work/out.*No space left on device.*make room"
  run 0 2 MOEBIUS_FAULT=none@1 --
done
# An error of the disk ends the job and names the file.
for operation in 3 9 15 17; do
  rm -rf "$work/out"
  run 4 1 MOEBIUS_FAULT="eio@$operation" --
  says "^moebius: .*$work/out.*(Input/output error)"
done
run 0 2 MOEBIUS_FAULT=none@1 --
# Writes that come short go on, slow ones are waited for.
for operation in 16 17 23; do
  rm -rf "$work/out"
  run 0 1 MOEBIUS_FAULT="short@$operation" --
done
rm -rf "$work/out"
run 0 2 MOEBIUS_FAULT=slow@12 MOEBIUS_FAULT_RANK=0 --
# A file system without locks: the file says who writes, also to a second job, and whether that one is dead.
rm -rf "$work/out"
run 0 2 MOEBIUS_FAULT=nolocks@1 --
rm -rf "$work/out" && mkdir "$work/out"
printf '{"v":1}\n' >"$work/out/journal"
printf '{"host":"%s","pid":%d,"start_ticks":%d,"slurm_job":"","slurm_restart":0,"utc":"today"}' "$(hostname)" $$ \
  "$(cut -d' ' -f22 /proc/$$/stat)" >"$work/out/lock"
run 2 1 MOEBIUS_FAULT=nolocks@1 --
says "another job writes there: host $(hostname), pid $$, since today"
sed -i 's/"start_ticks":/&1/' "$work/out/lock"
rm "$work/out/journal"
run 0 1 MOEBIUS_FAULT=nolocks@1 --

# A rank that hangs while the job is set up, or while results are closed: 71, and the others say that they waited.
for operation in 1 145; do
  rm -rf "$work/out"
  run 71 2 MOEBIUS_FAULT="stop@$operation" MOEBIUS_FAULT_RANK=0 -- --set run.setup_limit_s=2
  says '^moebius: rank 1 waited 2 s for the other ranks while the job was set up or wound up .*run.setup_limit_s$'
done
# Memory that runs out while weights are loaded, on one rank: one message, 72.
rm -rf "$work/out"
run 72 2 MOEBIUS_FAULT=nomap@4 MOEBIUS_FAULT_RANK=1 --
says '^moebius: [0-9]+ bytes for weights cannot be allocated \(Cannot allocate memory\) use more ranks, or a smaller model$'
run 72 2 MOEBIUS_FAULT=nomem@2 MOEBIUS_FAULT_RANK=0 --
says '^moebius: out of memory while setting up \(an allocation was refused\) use more ranks or lower \[limits\]$'
[ ! -e "$work/out" ] || fail "a job that could not start left results behind"

# start_job ARGS: the long job on 3 ranks (2 attention, 1 expert), under way when this returns; sets launcher and ranks.
start_job() {
  rm -rf "$work/out"
  : >"$work/log"
  "$MPIRUN" default 3 env LD_PRELOAD="$IO_FAULTS" MOEBIUS_FAULT_LOG="$work/log" "$MOEBIUS" run "$long_job" --set run.rows_per_block=2 "$@" \
    >"$work/stdout" 2>"$work/stderr" &
  launcher=$!
  for _ in $(seq 200); do grep -q '"kind":"block"' "$work/out/journal" 2>/dev/null && break; wait_a_little; done
  pid_of() { sed -n "s/^pid $1 //p" "$work/log"; }
}
# ended CODE WHAT: the job has ended with this code and without survivors.
ended() {
  local code=0
  wait "$launcher" 2>/dev/null || code=$?
  [ "$code" -eq "$1" ] || fail "$2: exit code $code, expected $1: $(cat "$work/stderr")"
  no_process_left "$work/log" || fail "$2: a process is left over"
}
# A rank of either role that stops dead: the watchdog's table, exit code 71.
for rank in 0 1 2; do
  start_job --set run.watchdog_s=2
  kill -STOP "$(pid_of $rank)"
  ended 71 "rank $rank stopped"
  says 'the job stands still'
  says '  rank  role       phase            waits for      since  last heard of'
  for other in '0  attention' '1  attention' '2  expert   '; do says "^     $other  ([a-z_]+ +(rows|rank [0-9]) +[0-9.]+ s  [0-9.]+ s ago|does not answer)"; done
done
# An expert rank that dies in the middle ends the job; one that is slow, stopped half of the time, does not.
start_job
kill -KILL "$(pid_of 2)"
ended 137 "an expert rank died"
start_job
for _ in $(seq 20); do kill -STOP "$(pid_of 2)" 2>/dev/null || break; wait_a_little; kill -CONT "$(pid_of 2)"; wait_a_little; done
ended 0 "a slow expert rank"
slow_digest=$(value digest <"$work/stdout")
start_job
kill -KILL "$(pid_of 0)"
ended 137 "an attention rank died"
"$MPIRUN" default 2 "$MOEBIUS" run "$long_job" --set layout.mode=colocated >"$work/stdout" 2>"$work/stderr" || fail "resume: $(cat "$work/stderr")"
[ "$(value digest <"$work/stdout")" = "$slow_digest" ] || fail "resume behind a dead rank: other bits"
[ "$(value rows_before <"$work/stdout")" -gt 0 ] || fail "nothing was resumed"
finish
