#!/usr/bin/env bash
# The program with MPICH: the digest of Open MPI for each way of running, results that one begins and the other ends, the
# selftest, and launchers of the wrong one. Needs also OPENMPI_MOEBIUS, the program with the MPI of the build.
. "$(dirname "$0")/lib.sh"
sed -n '1,8p;26,29p' tests/data/mixed.jsonl >"$work/input.jsonl"
job_file=$(job "$work/input.jsonl" "$work/out")
digest=
prefix=()

# run MPI CODE RANKS ARGS: one run, with MPICH or Open MPI.
run() {
  local mpi=$1 code=$2 ranks=$3 got=0 variant=mpich program=$MOEBIUS
  shift 3
  [ "$mpi" = mpich ] || { variant=default; program=$OPENMPI_MOEBIUS; }
  env -u MOEBIUS_TEST_MPI "$MPIRUN" "$variant" "$ranks" env "${prefix[@]}" "$program" run "$job_file" --set run.rows_per_block=1 "$@" \
    >"$work/stdout" 2>"$work/stderr" || got=$?
  [ "$got" -eq "$code" ] || fail "$mpi, $ranks ranks, $*: exit code $got, expected $code: $(cat "$work/stderr")"
  [ "$code" -ne 0 ] || [ "$(value digest <"$work/stdout")" = "${digest:=$(value digest <"$work/stdout")}" ] ||
    fail "$mpi, $ranks ranks, $*: digest $(value digest <"$work/stdout"), expected $digest"
}
says() { grep -qE "$1" "$work/$2" || fail "not said: /$1/ in: $(cat "$work/$2")"; }

run openmpi 0 2
[ ${#digest} -eq 32 ] || fail "no digest printed: $(cat "$work/stdout" "$work/stderr")"
for ranks in 1 2 4; do
  run mpich 0 $ranks --force-new
  run mpich 0 $ranks --force-new --set layout.mode=colocated
done
run mpich 0 3 --force-new --set layout.mode=replicate
run mpich 0 3 --force-new --set layout.attention_ranks=2 --set schedule.scheduler=mtfs --set limits.max_tokens_in_flight=17
run mpich 0 2 --force-new --set schedule.execution=lockstep
run mpich 0 3 --force-new --set schedule.execution=pipeline --set layout.mode=split --set pipeline.r1=2 --set pipeline.r2=3
prefix=(MOEBIUS_SHARED_MEMORY=off)   # every message an MPI_Put
run mpich 0 3 --force-new
prefix=(MOEBIUS_RANKS_PER_NODE=2)    # both paths in one job
run mpich 0 4 --force-new

# Begun with one MPI, ended with the other.
for order in "mpich openmpi" "openmpi mpich"; do
  rm -rf "$work/out"
  prefix=(LD_PRELOAD="$IO_FAULTS" MOEBIUS_FAULT=full@60 MOEBIUS_FAULT_RANK=0 MOEBIUS_FAULT_DIR="$work/out")
  run ${order% *} 72 2
  prefix=()
  run ${order#* } 0 3
  [ "$(value rows_before <"$work/stdout")" -gt 0 ] || fail "$order: nothing was kept"
done

"$MPIRUN" mpich 3 "$MOEBIUS" selftest --dir "$work" >"$work/stdout" 2>"$work/stderr" || fail "selftest: $(cat "$work/stdout" "$work/stderr")"
says '^mpi_library +MPICH [0-9.]+$' stdout
says '^launcher +ok +mpiexec \(PMI\): 3 processes, 3 ranks on 1 nodes' stdout
says '^put, flush +ok ' stdout
says '^atomics +ok ' stdout

# Each with the launcher of the other.
code=0
"$MPIRUN" mpich 2 "$OPENMPI_MOEBIUS" run "$job_file" --force-new >"$work/stdout" 2>"$work/stderr" || code=$?
[ $code -eq 2 ] || fail "Open MPI under mpiexec of MPICH: exit code $code"
says '2 processes were started, but each is alone \(mpiexec \(PMI\) does not speak the PMI of Open MPI' stderr
code=0
env -u MOEBIUS_TEST_MPI "$MPIRUN" default 2 "$MOEBIUS" run "$job_file" --force-new >"$work/stdout" 2>"$work/stderr" || code=$?
[ $code -eq 2 ] || fail "MPICH under mpirun of Open MPI: exit code $code"
says '2 processes were started, but each is alone \(mpirun \(Open MPI\) does not speak the PMI of MPICH [0-9.]+, or' stderr

# The build is told to take MPICH instead, as at a site that has nothing else.
cmake -S . -B "$work/build" -G Ninja -DMPI_CXX_COMPILER=mpicxx.mpich -DMPIEXEC_EXECUTABLE="$(command -v mpiexec.mpich)" -DMOEBIUS_BENCHMARKS=OFF \
  >"$work/stdout" 2>&1 || fail "no build with MPICH alone: $(cat "$work/stdout")"
says 'MPI_CXX_LIB_NAMES:STRING=.*mpich' build/CMakeCache.txt
[ -z "$(grep -l 'comm_mpich' "$work/build/build.ninja")" ] || fail "MPICH is taken twice"
finish
