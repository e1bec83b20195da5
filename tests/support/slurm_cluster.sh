# A real Slurm of four emulated nodes on this machine; to be sourced inside of namespaces of its own (slurm_test.sh makes
# them): nothing is seen from outside, no port is taken, and everything ends with the first process of the namespace.
# munged, slurmctld and four slurmd run as root without systemd. Each slurmd has its own host name and /dev/shm, so that to
# MPI they are four machines that only a network (loopback) connects.
cluster=$work/cluster
num_nodes=4 cpus_of_a_node=4
daemons=()   # process ids

wait_until() {  # wait_until SECONDS COMMAND...: until the command succeeds
  local ticks=$(($1 * 20))
  shift
  for _ in $(seq "$ticks"); do "$@" >/dev/null 2>&1 && return 0; read -r -t 0.05 <> <(:) || true; done
  return 1
}

# Slurm looks names up, and gets no answer on a machine that has a loopback address only.
start_network() {
  local node
  ip link set lo up
  ip address add 10.77.0.1/24 dev lo
  hostname controller
  {
    echo "127.0.0.1 localhost"
    for node in $(seq $num_nodes); do echo "10.77.0.1 n$node"; done
    echo "10.77.0.1 controller"
  } >"$cluster/hosts"
  mount --bind "$cluster/hosts" /etc/hosts
}

start_munge() {
  mkdir -p "$cluster/munge"
  chmod 711 "$work" "$cluster" && chmod 700 "$cluster/munge"
  mungekey --create --keyfile="$cluster/munge/key"
  munged --key-file="$cluster/munge/key" --socket="$cluster/munge.socket" --pid-file="$cluster/munge/pid" --log-file="$cluster/munge/log" \
    --seed-file="$cluster/munge/seed" --num-threads=2 --force >"$cluster/munge/out" 2>&1
}

# Written for slurmctld, slurmd, and by SLURM_CONF for all commands.
write_configuration() {
  local node
  mkdir -p "$cluster/state" "$cluster/spool" "$cluster/tmp"
  {
    echo "ClusterName=moebius
SlurmctldHost=controller(10.77.0.1)
SlurmctldPort=6817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$cluster/munge.socket
CredType=cred/munge
StateSaveLocation=$cluster/state
SlurmctldPidFile=$cluster/slurmctld.pid
SlurmctldLogFile=$cluster/slurmctld.log
SlurmdPidFile=$cluster/slurmd-%n.pid
SlurmdLogFile=$cluster/slurmd-%n.log
SlurmdSpoolDir=$cluster/spool/%n
TmpFS=$cluster/tmp/%n
# As on an emulated node: no cgroups, no accounting, no binding; more processors than there are.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=10000,batch_sched_delay=0,default_queue_depth=100
MpiDefault=pmix
ReturnToService=1
SlurmdTimeout=10
KillWait=5
MinJobAge=300
JobRequeue=1
SlurmctldDebug=info
SlurmdDebug=info"
    for node in $(seq $num_nodes); do
      mkdir -p "$cluster/spool/n$node" "$cluster/tmp/n$node"
      echo "NodeName=n$node NodeHostname=n$node NodeAddr=10.77.0.1 Port=$((6820 + node)) CPUs=$cpus_of_a_node State=UNKNOWN"
    done
    echo "PartitionName=all Nodes=ALL Default=YES MaxTime=1:00:00 State=UP"
  } >"$cluster/slurm.conf"
  printf 'CgroupPlugin=cgroup/v1\n' >"$cluster/cgroup.conf"
  export SLURM_CONF=$cluster/slurm.conf
}

start_node() {  # start_node N
  # One UTS and one mount namespace a node; the step daemons of jobs live in those of their slurmd.
  setsid unshare --uts --mount bash -c "hostname n$1; mount -t tmpfs -o size=2g shm /dev/shm; exec slurmd -D -N n$1" >"$cluster/slurmd-n$1.out" 2>&1 &
  daemons+=($!)
}

all_nodes_idle() { [ "$(sinfo -h -t idle -o %D)" = $num_nodes ]; }

start_cluster() {
  mkdir -p "$cluster"
  start_network
  start_munge
  write_configuration
  slurmctld -D -c >"$cluster/slurmctld.out" 2>&1 &
  daemons+=($!)
  local node
  for node in $(seq $num_nodes); do start_node "$node"; done
  wait_until 30 all_nodes_idle || { echo "Slurm did not come up"; tail -n 5 "$cluster"/*.log "$cluster"/*.out; return 1; }
}

# Before the files go: a daemon that still writes would keep their folders.
stop_cluster() {
  exec 2>/dev/null   # nobody wants to know which daemons were killed
  [ ${#daemons[@]} -eq 0 ] || kill -KILL "${daemons[@]}" 2>/dev/null || true
  kill -KILL "$(cat "$cluster/munge/pid")" 2>/dev/null || true
  wait 2>/dev/null || true
  rm -rf "$work"
}
trap stop_cluster EXIT
