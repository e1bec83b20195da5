# Kills jobs and runs them again; to be sourced behind tests/system/lib.sh by kill_test.sh (CI) and kill_campaign.sh (by
# hand). Needs MOEBIUS, MPIRUN and IO_FAULTS (support/io_faults.cpp).
#
# A chain is one result folder. Runs of random layouts are started in it and killed, each at another point, until one
# ends by itself; that one has to print the digest of the undisturbed run, and `moebius verify` has to find the folder whole.
# Points: before or inside the n-th write, sync, rename, ... of a rank (io_faults), or any moment; victims: that rank,
# any rank, all ranks, or the launcher.

# In memory where that is to be had: what is killed is processes, not power. What MPI leaves behind goes there too.
if [ -w /dev/shm ]; then
  rm -rf "$work"
  work=$(mktemp -d /dev/shm/moebius-kills-XXXXXX)
fi
export TMPDIR=$work OMPI_MCA_orte_tmpdir_base=$work
export OMPI_MCA_btl_vader_backing_directory=$work OMPI_MCA_osc_sm_backing_directory=$work
# The launcher gives the other ranks of a dead one no second to end by themselves.
export OMPI_MCA_odls_base_sigkill_timeout=0
# Most operations of a rank in one run of this small job: 12 lines, a block each.
max_operation=70
max_kills_of_a_chain=12

kills_job() {  # kills_job FOLDER: the job file of a chain
  sed -n '1,8p;26,29p' tests/data/mixed.jsonl >"$1.jsonl"
  job "$1.jsonl" "$1"
}
# The ranks of a dead one live on for a second or two before the launcher or the lost connection ends them. The next run
# mostly starts when they are gone, sometimes while they still compute and commit.
end_survivors() {
  local pid
  [ $((RANDOM % 8)) -gt 0 ] || return 0
  for pid in $(sed -n 's/^pid [0-9]* //p' "$1"); do kill -KILL "$pid" 2>/dev/null || true; done
}
# no_process_left LOG: every rank that was started is gone, or goes within a few seconds.
no_process_left() {
  local pid
  for pid in $(sed -n 's/^pid [0-9]* //p' "$1"); do
    for _ in $(seq 200); do kill -0 "$pid" 2>/dev/null || break; read -r -t 0.05 <> <(:) || true; done
    ! kill -0 "$pid" 2>/dev/null || { echo "process $pid is still there"; kill -KILL "$pid"; return 1; }
  done
}

# end_hung LAUNCHER LOG: ends a launcher that is still there ten seconds after the last of its ranks has gone. That of Open MPI with
# libpmix 4.2.2 hangs in its own finalize once in thousands of runs; it counts as one more kill.
end_hung() {
  local pid quiet=0
  while read -r -t 1 <> <(:) || kill -0 "$1" 2>/dev/null; do
    for pid in $(sed -n 's/^pid [0-9]* //p' "$2"); do
      if readlink "/proc/$pid/exe" >/dev/null; then quiet=-1; fi  # dead ones that nobody asked for have none
    done
    quiet=$((quiet + 1))
    [ $quiet -lt 10 ] || { echo "fault launcher hung" >>"$2"; kill -KILL "$1"; return; }
  done
}

# killed_run FOLDER JOB LOG KILL: one run with 1 to 3 ranks; sets `code` and `what`. KILL: io | time | none.
killed_run() {
  local folder=$1 file=$2 log=$3 ranks=$((1 + RANDOM % 3)) environment=() arguments=() launcher guard victim
  case $((RANDOM % 3)) in
    0) arguments=(--set layout.mode=colocated) ;;
    1) arguments=(--set schedule.scheduler=mtfs --set limits.max_tokens_in_flight=40) ;;
    2) [ "$ranks" -lt 3 ] || arguments=(--set layout.attention_ranks=2) ;;
  esac
  environment=(LD_PRELOAD="$IO_FAULTS" MOEBIUS_FAULT_LOG="$log")
  what="$ranks ranks ${arguments[*]}"
  if [ "$4" = io ]; then
    local actions=(kill torn kill torn job launcher)
    local action=${actions[RANDOM % 6]} operation=$((1 + RANDOM % max_operation)) rank=$((RANDOM % ranks))
    [ $((RANDOM % 3)) -gt 0 ] || operation=$((1 + RANDOM % 16))     # more often in the beginning of a run
    environment+=(MOEBIUS_FAULT="$action@$operation" MOEBIUS_FAULT_RANK=$rank MOEBIUS_FAULT_DIR="$folder")
    what+=", $action at operation $operation of rank $rank"
  fi
  : >"$log"
  "$MPIRUN" default "$ranks" env "${environment[@]}" "$MOEBIUS" run "$file" --set run.rows_per_block=1 "${arguments[@]}" \
    >"$folder.stdout" 2>"$folder.stderr" &
  launcher=$!
  if [ "$4" = time ]; then
    read -r -t "0.$(printf %03d $((RANDOM % 450)))" <> <(:) || true
    victim=$launcher
    [ $((RANDOM % 4)) -eq 0 ] || victim=$(sed -n 's/^pid [0-9]* //p' "$log" | shuf -n 1 --random-source=<(yes $RANDOM))
    what+=", kill of process ${victim:-$launcher} (launcher: $launcher)"
    if kill -KILL "${victim:-$launcher}" 2>/dev/null; then echo "fault time any" >>"$log"; fi
  fi
  end_hung "$launcher" "$log" 2>/dev/null &
  guard=$!
  code=0
  wait "$launcher" 2>/dev/null || code=$?
  kill "$guard" 2>/dev/null || true
  wait "$guard" 2>/dev/null || true
  cat "$log" >>"$log.all"
  [ $code -eq 0 ] || end_survivors "$log"
}

# kill_chains SEED NUM_KILLS DIGEST REPORT: chains until NUM_KILLS runs were killed; appends a line to REPORT for each kill.
kill_chains() {
  local seed=$1 num_kills=$2 digest=$3 report=$4 kills=0 chain=0 folder file log code what history found in_chain
  RANDOM=$seed
  while [ $kills -lt "$num_kills" ]; do
    chain=$((chain + 1))
    folder=$work/chain-$seed-$chain log=$work/chain-$seed-$chain.log history= in_chain=0
    file=$(kills_job "$folder")
    while true; do
      local kind=io
      [ $((RANDOM % 4)) -gt 0 ] || kind=time
      [ $in_chain -lt $max_kills_of_a_chain ] && [ $kills -lt "$num_kills" ] || kind=none
      killed_run "$folder" "$file" "$log" $kind || return 1
      history+="$what: exit code $code; "
      [ $code -ne 0 ] || break
      grep '^fault' "$log" >>"$report" || { echo "seed $seed chain $chain ended with $code though nothing was killed: $history"; tail -5 "$folder.stderr"; return 1; }
      kills=$((kills + 1)) in_chain=$((in_chain + 1))
    done
    no_process_left "$log.all" || { echo "seed $seed chain $chain: $history"; return 1; }
    found=$(value digest <"$folder.stdout")
    [ "$found" = "$digest" ] || { echo "seed $seed chain $chain: digest $found, expected $digest: $history"; return 1; }
    "$MOEBIUS" verify "$folder" >"$log" 2>&1 || { echo "seed $seed chain $chain: $history"; cat "$log"; return 1; }
    rm -rf "$folder" "$folder".*
  done
}
