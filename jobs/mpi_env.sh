# Settings for one machine, to be sourced before mpirun. Each says why it is there; on a supercomputer the site's own
# settings are better and srun is the launcher (README.md). Names that begin with OMPI_ are for Open MPI, and MPICH does
# not read them. MPICH has none for what follows: it lets any number of ranks start, binds none, and needs no network on
# one machine; but its waiting ranks never give their core away (the library of 4.0 has no call that does), so there keep a
# core for each rank.

# Ranks poll for messages; when there are more ranks than cores a waiting one must give its core away.
export OMPI_MCA_mpi_yield_when_idle=1
# More ranks than cores is allowed (tests run 7 on 2), and ranks are then not bound to cores.
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none
# Containers often forbid the system call behind single-copy messages; its absence only prints warnings.
export OMPI_MCA_btl_vader_single_copy_mechanism=none
# One machine: the launcher needs no network but loopback, and no remote shell.
export OMPI_MCA_oob_tcp_if_include=lo OMPI_MCA_btl_tcp_if_include=lo OMPI_MCA_plm_rsh_agent=
# Open MPI refuses to run as root unless told twice; containers usually are root.
if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# One thread a rank: ranks fill the cores.
export OMP_NUM_THREADS=1
