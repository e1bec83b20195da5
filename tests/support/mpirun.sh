#!/usr/bin/env bash
# Runs a program under mpirun with the settings of one one-sided component, on this machine only.
# Use: mpirun.sh VARIANT RANKS PROGRAM [ARGS...]      VARIANT: default | sm | rdma | ucx | mpich
# MOEBIUS_TEST_MPI=mpich makes `default` mean MPICH, for scripts that start whole jobs; the program is then one of MPICH.
# Exit code 77 (skipped) when the component is not part of this MPI, or cannot work on this machine.
set -eu
variant=$1 ranks=$2
shift 2
. "$(dirname "$0")/../../jobs/mpi_env.sh"
unset MOEBIUS_RANKS_PER_NODE MOEBIUS_SHARED_MEMORY     # tests that want them set them

skip() { echo "mpirun.sh: $1, test skipped"; exit 77; }
has_osc() { ompi_info --parsable 2>/dev/null | grep -q "^mca:osc:$1:"; }
# May one process read the memory of its sibling? The kernel asks the same for process_vm_readv.
siblings_readable() {
  sleep 20 & local target=$!
  local answer=0
  (exec 3< "/proc/$target/mem") 2>/dev/null || answer=1
  kill "$target"
  return $answer
}
[ "${MOEBIUS_TEST_MPI:-}" != mpich ] || [ "$variant" != default ] || variant=mpich
case $variant in
  default) ;;
  mpich)
    launcher=$(command -v mpiexec.mpich || command -v mpiexec.hydra) || skip "there is no MPICH"
    exec "$launcher" -n "$ranks" "$@" ;;
  sm)
    has_osc sm || skip "this MPI has no one-sided component sm"
    export OMPI_MCA_osc=sm ;;
  rdma) # On one node it needs the single-copy path of the shared-memory transport, so at least two ranks.
    has_osc rdma || skip "this MPI has no one-sided component rdma"
    siblings_readable || skip "this machine forbids reading the memory of a sibling process"
    export OMPI_MCA_osc=rdma OMPI_MCA_btl_vader_single_copy_mechanism=cma ;;
  ucx)
    has_osc ucx || skip "this MPI has no one-sided component ucx"
    export OMPI_MCA_osc=ucx OMPI_MCA_pml=ucx UCX_TLS=tcp,self,sm UCX_NET_DEVICES=lo
    export OMPI_MCA_opal_common_ucx_tls=any OMPI_MCA_opal_common_ucx_devices=any ;;
  *) echo "mpirun.sh: unknown variant $variant (it is none of default, sm, rdma, ucx, mpich) name one of them" >&2; exit 2 ;;
esac
exec mpirun --oversubscribe -n "$ranks" "$@"
