// SPDX-License-Identifier: Apache-2.0
#include "comm/shared_memory.hpp"

#include "base/check.hpp"
#include "comm/mpi_native.hpp"

namespace moebius::comm {

namespace {

constexpr std::size_t alignment = 64;

}  // namespace

struct SharedMemory::Native {
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Win window = MPI_WIN_NULL;
};

SharedMemory::SharedMemory(Session& session, std::size_t bytes, FastPath fast_path) : native_(std::make_unique<Native>()) {
  const bool takes_part = bytes > 0 && fast_path == FastPath::on;
  mpi_check(MPI_Comm_split(session.memory_node().native().comm, takes_part ? session.node_idx() : MPI_UNDEFINED,
                           session.rank().value, &native_->comm));
  if (!takes_part) return;
  mpi_check(MPI_Comm_set_errhandler(native_->comm, MPI_ERRORS_RETURN));
  int rank = 0, num_ranks = 0;
  mpi_check(MPI_Comm_rank(native_->comm, &rank));
  mpi_check(MPI_Comm_size(native_->comm, &num_ranks));
  if (num_ranks == 1) return;  // memory of its own comes in large pages

  // All of it belongs to the first member; the others ask where it is mapped here.
  std::byte* own = nullptr;
  const MPI_Aint own_bytes = rank == 0 ? static_cast<MPI_Aint>(bytes + alignment) : 0;
  int refused = MPI_Win_allocate_shared(own_bytes, 1, MPI_INFO_NULL, native_->comm, &own, &native_->window) == MPI_SUCCESS ? 0 : 1;
  const int refused_here = refused;
  mpi_check(MPI_Allreduce(MPI_IN_PLACE, &refused, 1, MPI_INT, MPI_MAX, native_->comm));
  if (refused != 0) {
    if (refused_here == 0) mpi_check(MPI_Win_free(&native_->window));
    native_->window = MPI_WIN_NULL;
    return;
  }
  mpi_check(MPI_Win_set_errhandler(native_->window, MPI_ERRORS_RETURN));
  mpi_check(MPI_Win_lock_all(0, native_->window));
  MPI_Aint size = 0;
  int unit = 0;
  std::byte* base = nullptr;
  mpi_check(MPI_Win_shared_query(native_->window, 0, &size, &unit, &base));
  // Mappings begin on pages, so all members skip the same bytes.
  const std::size_t beyond = reinterpret_cast<std::uintptr_t>(base) % alignment;
  memory_ = {base + (beyond == 0 ? 0 : alignment - beyond), bytes};
  member_idx_ = rank;
  num_members_ = num_ranks;
}

SharedMemory::~SharedMemory() = default;

void SharedMemory::publish() {
  if (native_->window == MPI_WIN_NULL) return;
  // MPI-3.1, section 11.5.4: stores before the first sync are visible to loads after the second.
  mpi_check(MPI_Win_sync(native_->window));
  mpi_check(MPI_Barrier(native_->comm));
  mpi_check(MPI_Win_sync(native_->window));
}

void SharedMemory::close() {
  memory_ = {};
  if (native_->window != MPI_WIN_NULL) {
    mpi_check(MPI_Win_unlock_all(native_->window));
    mpi_check(MPI_Win_free(&native_->window));
  }
  if (native_->comm != MPI_COMM_NULL) mpi_check(MPI_Comm_free(&native_->comm));
}

}  // namespace moebius::comm
