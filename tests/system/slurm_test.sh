#!/usr/bin/env bash
# Jobs under a real Slurm: the scripts of jobs/ on one and on four emulated nodes, an array of shards and its merge, a
# signal, a node that fails, scancel, the wrong launcher. Every digest is that of the run without Slurm.
# Skipped (77) only where no Slurm can run: not root, no namespaces, or Slurm is not installed.
if [ "${1:-}" != inside ]; then
  skip() { echo "slurm_test.sh: $1, test skipped"; exit 77; }
  [ "$(id -u)" -eq 0 ] || skip "a Slurm daemon needs root"
  for program in slurmctld slurmd munged ip; do command -v $program >/dev/null || skip "$program is not installed (cmake/install_debian.sh)"; done
  # Names, ports, processes and mounts of its own; all of it ends with this script.
  spaces=(unshare --net --pid --mount --uts --ipc --fork --kill-child --mount-proc)
  "${spaces[@]}" true 2>/dev/null || skip "this machine forbids namespaces"
  exec "${spaces[@]}" "$0" inside
fi
. "$(dirname "$0")/lib.sh"
. jobs/mpi_env.sh
. tests/support/slurm_cluster.sh
started=$SECONDS
lap() { echo "$((SECONDS - started)) s: $*"; }
start_cluster || exit 1
lap "Slurm runs"

cat tests/data/mixed.jsonl >"$work/input.jsonl"
sed -n 1,12p inputs/data/endings.jsonl >>"$work/input.jsonl"
job_file=$(job "$work/input.jsonl" "$work/laptop")
"$MOEBIUS" run "$job_file" --set layout.mode=colocated >"$work/stdout" 2>"$work/stderr" || fail "$(cat "$work/stderr")"
digest=$(value digest <"$work/stdout")
# Slow experts, for jobs that have to be caught in the middle.
slowly=(--set "placement.emulated_slowdown=[25]" --set run.rows_per_block=1 --set limits.max_tokens_in_flight=64)

# Emulated nodes have a network between them, of which Open MPI knows nothing else (src/comm/PROTOCOL.md).
export OMPI_MCA_osc=ucx OMPI_MCA_pml=ucx UCX_TLS=tcp,self,sm UCX_NET_DEVICES=lo
export OMPI_MCA_opal_common_ucx_tls=any OMPI_MCA_opal_common_ucx_devices=any

# submit FOLDER SCRIPT SBATCH_OPTIONS -- ARGS: sets `id`.
submit() {
  local folder=$work/$1 script=$2 options=()
  shift 2
  while [ "$1" != -- ]; do options+=("$1"); shift; done
  shift
  id=$(sbatch --parsable --output="$work/slurm-%j.log" --time=10 "${options[@]}" "$script" "$job_file" --set output.path="$folder" "$@")
}
state_of() { squeue -h -j "$1" -t all -o %T | sort -u | tr '\n' ' '; }
has_state() { case " $(state_of "$1")" in *" $2 "*) ;; *) return 1 ;; esac; }
log() { cat "$work/slurm-$id.log" 2>/dev/null; }
# ended SECONDS STATE WHAT: the job comes to this state.
ended() { wait_until "$1" has_state "$id" "$2" || fail "$3: job $id is $(state_of "$id"), expected $2: $(log | tail -n 30)"; }
has_blocks() { [ "$(grep -c '"kind":"block"' "$work/$1/journal" 2>/dev/null)" -ge 2 ]; }
has_digest() {  # has_digest FOLDER WHAT
  "$MOEBIUS" verify "$work/$1" >"$work/verified" 2>&1 || fail "$2: $(cat "$work/verified")"
  grep -q "digest $digest" "$work/verified" || fail "$2: other bits: $(cat "$work/verified")"
}
num_starts() { grep -c '"kind":"start"' "$work/$1/journal"; }
nodes_of() { h5dump -d /ranks/timing/node "$work/$1/results.h5" | grep -o '"n[0-9]' | sort -u | wc -l; }
no_rank_left() { ! pgrep -f "^$MOEBIUS run" >/dev/null; }
no_step_left() { ! pgrep -f "^slurmstepd: \[$1\." >/dev/null; }
# A job that was put back is to wait for two minutes, in case its node is broken. It may start earlier, but not before its old
# batch step has gone, and not within the same second: a node takes no start of a job from before it was told of its end.
start_now() {
  wait_until 60 has_state "$id" PENDING || fail "$1: job $id was not put back into the queue: $(state_of "$id") $(log | tail -n 20)"
  wait_until 60 no_step_left "$id" || fail "$1: a step of job $id is still there"
  wait_until 5 scontrol update jobid="$id" StartTime=now+3 || fail "$1: job $id cannot be started again"
}

# One node, and four over the network. Both at once: eight ranks on few cores.
submit one jobs/slurm.sbatch --nodes=1 --ntasks-per-node=4 --
one=$id
submit four jobs/slurm.sbatch --nodes=4 --ntasks-per-node=1 --
ended 60 COMPLETED "four nodes"
has_digest four "four nodes"
[ "$(nodes_of four)" -eq 4 ] || fail "the ranks of four nodes were on $(nodes_of four)"
id=$one
ended 60 COMPLETED "one node"
has_digest one "one node"
[ "$(nodes_of one)" -eq 1 ] || fail "the ranks of one node were on $(nodes_of one)"
submit mpirun jobs/slurm_mpirun.sbatch --nodes=2 --ntasks-per-node=2 --
ended 60 COMPLETED "mpirun on two nodes"
has_digest mpirun "mpirun on two nodes"
lap "one node, four nodes, mpirun"

# An array of three shards and the merge that waits for it.
id=$(sbatch --parsable --output="$work/slurm-%A-%a.log" --time=10 --array=0-2 --nodes=1 --ntasks-per-node=2 jobs/slurm_array.sbatch "$job_file" \
  --set output.path="$work/array")
array=$id
id=$(sbatch --parsable --output="$work/slurm-%j.log" --dependency=afterok:"$array" --wrap="$MOEBIUS merge $work/array")
ended 60 COMPLETED "the merge behind an array"
has_digest array "array and merge"
! SLURM_ARRAY_TASK_COUNT=1 SLURM_ARRAY_TASK_MIN=2 SLURM_ARRAY_TASK_MAX=2 bash jobs/slurm_array.sbatch 2>/dev/null || fail "a part of an array ran with a wrong number of shards"
lap "array and merge"

# A signal, as Slurm sends it before the walltime: stopped with 75, put back, done. By srun, and by way of the script to mpirun.
signalled() {  # signalled FOLDER SCRIPT SCANCEL_OPTIONS SBATCH_OPTIONS...
  submit "$1" "$2" "${@:4}" -- "${slowly[@]}" --set run.grace_s=0.2
  wait_until 30 has_blocks "$1" || fail "$1: nothing was committed before the signal: $(log)"
  scancel $3 --signal=USR1 "$id" || true
  start_now "$1"
  log | grep -q 'stopped before the end' || fail "$1: was not stopped by the signal: $(log)"
  ended 90 COMPLETED "$1, started again"
  has_digest "$1" "$1, started again"
  [ "$(num_starts "$1")" -eq 2 ] || fail "$1: $(num_starts "$1") starts, expected 2"
}
signalled signal jobs/slurm.sbatch "" --nodes=2 --ntasks-per-node=1
signalled signal_mpirun jobs/slurm_mpirun.sbatch --batch --nodes=1 --ntasks-per-node=2
lap "signals"

# A node fails in the middle: Slurm puts the job back, other nodes finish it.
submit node_down jobs/slurm.sbatch --nodes=2 --ntasks-per-node=1 -- "${slowly[@]}"
wait_until 30 has_blocks node_down || fail "node down: nothing was committed before: $(log)"
node=$(squeue -h -j "$id" -o %N | sed 's/.*\([0-9]\)\]*$/n\1/')
scontrol update nodename="$node" state=down reason=test
start_now "node down"
ended 90 COMPLETED "node down, started again"
has_digest node_down "node down, started again"
[ "$(num_starts node_down)" -eq 2 ] || fail "node down: $(num_starts node_down) starts, expected 2"
scontrol update nodename="$node" state=resume
lap "node down"

# scancel: nothing is left, and what was committed is kept.
submit cancelled jobs/slurm.sbatch --nodes=2 --ntasks-per-node=2 -- "${slowly[@]}"
wait_until 30 has_blocks cancelled || fail "scancel: nothing was committed before: $(log)"
! no_rank_left || fail "scancel: there is no rank to end"
scancel "$id"
ended 60 CANCELLED "scancel"
wait_until 30 no_rank_left || fail "scancel leaves processes: $(pgrep -af "^$MOEBIUS run")"
submit cancelled jobs/slurm.sbatch --nodes=1 --ntasks-per-node=2 --
ended 60 COMPLETED "after scancel"
has_digest cancelled "after scancel"
[ "$(num_starts cancelled)" -eq 2 ] || fail "after scancel: $(num_starts cancelled) starts, expected 2"
lap "scancel"

# The wrong launcher: srun without the PMI that this MPI speaks.
code=0
srun --mpi=none -N2 -n4 "$MOEBIUS" run "$job_file" --set output.path="$work/alone" >"$work/stdout" 2>"$work/stderr" || code=$?
[ $code -eq 2 ] || fail "wrong launcher: exit code $code: $(cat "$work/stderr")"
[ "$(grep -c '^moebius: 4 processes were started, but cannot find each other' "$work/stderr")" -eq 1 ] || fail "wrong launcher: not said once: $(cat "$work/stderr")"
[ ! -e "$work/alone" ] || fail "the wrong launcher left results behind"
# One process on purpose is none, whoever started it.
srun --mpi=pmix -n1 "$MOEBIUS" run "$job_file" --set output.path="$work/single" >"$work/stdout" 2>"$work/stderr" || fail "one process: $(cat "$work/stderr")"
has_digest single "one process"
lap "launchers"
finish
