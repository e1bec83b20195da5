// SPDX-License-Identifier: Apache-2.0
#include "comm/node_segments.hpp"

#include <vector>

#include "base/check.hpp"
#include "comm/mpi_native.hpp"

namespace moebius::comm {

struct NodeSegments::Native {
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Win window = MPI_WIN_NULL;
};

NodeSegments::NodeSegments(Session& session, std::size_t own_bytes, FastPath fast_path) : native_(std::make_unique<Native>()) {
  const bool takes_part = fast_path == FastPath::on;
  mpi_check(MPI_Comm_split(session.memory_node().native().comm, takes_part ? session.node_idx() : MPI_UNDEFINED,
                           session.rank().value, &native_->comm));
  if (!takes_part) return;
  mpi_check(MPI_Comm_set_errhandler(native_->comm, MPI_ERRORS_RETURN));
  int num_ranks = 0;
  mpi_check(MPI_Comm_size(native_->comm, &num_ranks));
  if (num_ranks == 1) return;
  MPI_Info info = MPI_INFO_NULL;
  mpi_check(MPI_Info_create(&info));
  // Each rank's part starts on a page of its own, so that its first touch places it near the rank.
  mpi_check(MPI_Info_set(info, "alloc_shared_noncontig", "true"));
  std::byte* own = nullptr;
  int refused = MPI_Win_allocate_shared(static_cast<MPI_Aint>(own_bytes + cache_line_bytes), 1, info, native_->comm, &own,
                                        &native_->window) == MPI_SUCCESS ? 0 : 1;
  mpi_check(MPI_Info_free(&info));
  const int refused_here = refused;
  mpi_check(MPI_Allreduce(MPI_IN_PLACE, &refused, 1, MPI_INT, MPI_MAX, native_->comm));
  if (refused != 0) {
    if (refused_here == 0) mpi_check(MPI_Win_free(&native_->window));
    native_->window = MPI_WIN_NULL;
    return;
  }
  mpi_check(MPI_Win_set_errhandler(native_->window, MPI_ERRORS_RETURN));
  mpi_check(MPI_Win_lock_all(0, native_->window));
  map_segments(session, own_bytes);
}

NodeSegments::~NodeSegments() = default;

void NodeSegments::map_segments(Session& session, std::size_t own_bytes) {
  int num_ranks = 0;
  mpi_check(MPI_Comm_size(native_->comm, &num_ranks));
  struct Member {
    std::int64_t world_rank, bytes;
  };
  const Member mine{session.rank().value, static_cast<std::int64_t>(own_bytes)};
  std::vector<Member> members(static_cast<std::size_t>(num_ranks));
  mpi_check(MPI_Allgather(&mine, 2, MPI_INT64_T, members.data(), 2, MPI_INT64_T, native_->comm));
  for (int r = 0; r < num_ranks; ++r) {
    MPI_Aint size = 0;
    int unit = 0;
    std::byte* base = nullptr;
    mpi_check(MPI_Win_shared_query(native_->window, r, &size, &unit, &base));
    const Member& member = members[static_cast<std::size_t>(r)];
    // Mappings begin on pages, so all ranks skip the same bytes.
    const std::size_t beyond = reinterpret_cast<std::uintptr_t>(base) % cache_line_bytes;
    const std::size_t skip = beyond == 0 ? 0 : cache_line_bytes - beyond;
    MOEBIUS_ENSURE(static_cast<std::size_t>(size) >= skip + static_cast<std::size_t>(member.bytes));
    segments_[RankId(static_cast<int>(member.world_rank))] = {base + skip, static_cast<std::size_t>(member.bytes)};
  }
}

void NodeSegments::close() {
  segments_.clear();
  if (native_->window != MPI_WIN_NULL) {
    mpi_check(MPI_Win_unlock_all(native_->window));
    mpi_check(MPI_Win_free(&native_->window));
  }
  if (native_->comm != MPI_COMM_NULL) mpi_check(MPI_Comm_free(&native_->comm));
}

}  // namespace moebius::comm
