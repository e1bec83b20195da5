#!/usr/bin/env bash
# A launcher and an MPI that do not understand each other: one line that explains it, exit code 2, nothing written. The
# environment is that of such launchers; slurm_test.sh has a real one.
. "$(dirname "$0")/lib.sh"
job_file=$(job inputs/data/endings.jsonl "$work/out")

# start CODE LINES ENV=VALUE...: one process of such a launch.
start() {
  local code=$1 lines=$2 got=0
  shift 2
  env "$@" "$MOEBIUS" run "$job_file" --shard 0/40 >"$work/stdout" 2>"$work/stderr" || got=$?
  [ "$got" -eq "$code" ] || fail "$*: exit code $got, expected $code: $(cat "$work/stderr")"
  [ "$(grep -c '^moebius: ' "$work/stderr")" -eq "$lines" ] || fail "$*: not said $lines times: $(cat "$work/stderr")"
}
says() { grep -qE "$1" "$work/stderr" || fail "not said: /$1/ in: $(cat "$work/stderr")"; }

# srun without any PMI; the second process says nothing.
start 2 1 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=0
says '4 processes were started, but cannot find each other \(srun was not told .* `srun --mpi=pmix`'
start 2 0 SLURM_STEP_NUM_TASKS=4 SLURM_PROCID=1
# The launcher of another MPI: each process is an MPI job of its own.
start 2 1 PMI_SIZE=3 PMI_RANK=0
says '3 processes were started, but each is alone \(mpiexec \(PMI\) does not speak the PMI of '
start 2 0 PMI_SIZE=3 PMI_RANK=2
[ ! -e "$work/out" ] || fail "a launch that was refused left results behind"
# One process on purpose, and one inside of a batch script, whose variables speak of the whole job.
start 0 0 PMI_SIZE=1 PMI_RANK=0
start 0 0 SLURM_NTASKS=4 SLURM_PROCID=0
start 0 0 MOEBIUS_TRUST_LAUNCHER=1 PMI_SIZE=3 PMI_RANK=0
finish
