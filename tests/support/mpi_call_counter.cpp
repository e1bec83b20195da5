// SPDX-License-Identifier: Apache-2.0
#include "tests/support/mpi_call_counter.hpp"

#include <mpi.h>

namespace moebius::test {
namespace {

MpiCallCounts& counts() {
  static MpiCallCounts all;
  return all;
}

}  // namespace

const MpiCallCounts& mpi_call_counts() { return counts(); }

}  // namespace moebius::test

using moebius::test::counts;

extern "C" {

int MPI_Barrier(MPI_Comm comm) {
  ++counts().collectives;
  return PMPI_Barrier(comm);
}
int MPI_Ibarrier(MPI_Comm comm, MPI_Request* request) {
  ++counts().collectives;
  return PMPI_Ibarrier(comm, request);
}
int MPI_Bcast(void* buffer, int count, MPI_Datatype type, int root, MPI_Comm comm) {
  ++counts().collectives;
  return PMPI_Bcast(buffer, count, type, root, comm);
}
int MPI_Reduce(const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, int root, MPI_Comm comm) {
  ++counts().collectives;
  return PMPI_Reduce(in, out, count, type, op, root, comm);
}
int MPI_Allreduce(const void* in, void* out, int count, MPI_Datatype type, MPI_Op op, MPI_Comm comm) {
  ++counts().collectives;
  return PMPI_Allreduce(in, out, count, type, op, comm);
}
int MPI_Gather(const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count, MPI_Datatype out_type,
               int root, MPI_Comm comm) {
  ++counts().collectives;
  return PMPI_Gather(in, in_count, in_type, out, out_count, out_type, root, comm);
}
int MPI_Gatherv(const void* in, int in_count, MPI_Datatype in_type, void* out, const int* out_counts,
                const int* offsets, MPI_Datatype out_type, int root, MPI_Comm comm) {
  ++counts().collectives;
  return PMPI_Gatherv(in, in_count, in_type, out, out_counts, offsets, out_type, root, comm);
}
int MPI_Allgather(const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count, MPI_Datatype out_type,
                  MPI_Comm comm) {
  ++counts().collectives;
  return PMPI_Allgather(in, in_count, in_type, out, out_count, out_type, comm);
}
int MPI_Alltoall(const void* in, int in_count, MPI_Datatype in_type, void* out, int out_count, MPI_Datatype out_type,
                 MPI_Comm comm) {
  ++counts().collectives;
  return PMPI_Alltoall(in, in_count, in_type, out, out_count, out_type, comm);
}
int MPI_Alltoallv(const void* in, const int* in_counts, const int* in_offsets, MPI_Datatype in_type, void* out,
                  const int* out_counts, const int* out_offsets, MPI_Datatype out_type, MPI_Comm comm) {
  ++counts().collectives;
  return PMPI_Alltoallv(in, in_counts, in_offsets, in_type, out, out_counts, out_offsets, out_type, comm);
}
int MPI_Send(const void* buffer, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm) {
  ++counts().two_sided;
  return PMPI_Send(buffer, count, type, to, tag, comm);
}
int MPI_Isend(const void* buffer, int count, MPI_Datatype type, int to, int tag, MPI_Comm comm, MPI_Request* request) {
  ++counts().two_sided;
  return PMPI_Isend(buffer, count, type, to, tag, comm, request);
}
int MPI_Recv(void* buffer, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Status* status) {
  ++counts().two_sided;
  return PMPI_Recv(buffer, count, type, from, tag, comm, status);
}
int MPI_Irecv(void* buffer, int count, MPI_Datatype type, int from, int tag, MPI_Comm comm, MPI_Request* request) {
  ++counts().two_sided;
  return PMPI_Irecv(buffer, count, type, from, tag, comm, request);
}
int MPI_Sendrecv(const void* out, int out_count, MPI_Datatype out_type, int to, int out_tag, void* in, int in_count,
                 MPI_Datatype in_type, int from, int in_tag, MPI_Comm comm, MPI_Status* status) {
  ++counts().two_sided;
  return PMPI_Sendrecv(out, out_count, out_type, to, out_tag, in, in_count, in_type, from, in_tag, comm, status);
}
int MPI_Win_lock(int lock_type, int rank, int assertion, MPI_Win window) {
  ++counts().exclusive_locks;
  return PMPI_Win_lock(lock_type, rank, assertion, window);
}
int MPI_Win_fence(int assertion, MPI_Win window) {
  ++counts().exclusive_locks;
  return PMPI_Win_fence(assertion, window);
}
int MPI_Compare_and_swap(const void* origin, const void* compare, void* result, MPI_Datatype type, int target,
                         MPI_Aint displacement, MPI_Win window) {
  ++counts().exclusive_locks;
  return PMPI_Compare_and_swap(origin, compare, result, type, target, displacement, window);
}
int MPI_Put(const void* origin, int count, MPI_Datatype type, int target, MPI_Aint displacement, int target_count,
            MPI_Datatype target_type, MPI_Win window) {
  ++counts().puts;
  return PMPI_Put(origin, count, type, target, displacement, target_count, target_type, window);
}
int MPI_Win_flush(int rank, MPI_Win window) {
  ++counts().flushes;
  return PMPI_Win_flush(rank, window);
}
int MPI_Fetch_and_op(const void* origin, void* result, MPI_Datatype type, int target, MPI_Aint displacement, MPI_Op op,
                     MPI_Win window) {
  ++counts().atomics;
  return PMPI_Fetch_and_op(origin, result, type, target, displacement, op, window);
}
int MPI_Iprobe(int from, int tag, MPI_Comm comm, int* flag, MPI_Status* status) {
  ++counts().probes;
  return PMPI_Iprobe(from, tag, comm, flag, status);
}

}  // extern "C"
