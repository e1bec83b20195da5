// SPDX-License-Identifier: Apache-2.0
#pragma once
// Counts MPI calls through the profiling interface (MPI-3.1, chapter 14.2), to show what a run does
// and does not call. Link mpi_call_counter.cpp into the program to be watched; it replaces MPI's entry
// points and passes each call on.

#include <cstdint>

namespace moebius::test {

struct MpiCallCounts {
  std::int64_t collectives = 0;     ///< Barrier, Bcast, Reduce, Allreduce, Gather(v), Allgather, Alltoall(v), Ibarrier
  std::int64_t two_sided = 0;       ///< Send, Isend, Recv, Irecv, Sendrecv
  std::int64_t exclusive_locks = 0; ///< Win_lock, Win_fence, Compare_and_swap
  std::int64_t puts = 0, flushes = 0, atomics = 0, probes = 0;
};

/// Calls of this process since its start.
const MpiCallCounts& mpi_call_counts();

}  // namespace moebius::test
