// SPDX-License-Identifier: Apache-2.0
#include "comm/peer_memory.hpp"

#include <atomic>
#include <cstring>
#include <limits>
#include <string>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "base/large_pages.hpp"
#include "comm/mpi_native.hpp"
#include "comm/node_segments.hpp"
#include "comm/shared_port.hpp"

namespace moebius::comm {

/// One that was begun. Where memory is loaded directly it waits, with all that it needs, for finished().
struct PeerMemory::Read {
  std::byte* from = nullptr;
  std::span<std::byte> to;
  MPI_Request request = MPI_REQUEST_NULL;
};

struct PeerMemory::Native {
  std::unique_ptr<NodeSegments> node;
  MPI_Win window = MPI_WIN_NULL;
  std::vector<std::uint64_t> skip_bytes, num_bytes;  // [num_ranks] from MPI's base to the memory; of the memory
};

PeerMemory::PeerMemory(Session& session, std::size_t own_bytes, FastPath fast_path)
    : rank_(session.rank()), native_(std::make_unique<Native>()) {
  if (session.num_nodes() == 1) native_->node = std::make_unique<NodeSegments>(session, own_bytes, fast_path);
  if (native_->node == nullptr || native_->node->segments().empty()) {  // the same on all ranks
    allocate_window(session, own_bytes);
    return;
  }
  for (const auto& [rank, memory] : native_->node->segments()) memories_.push_back(memory);
  MOEBIUS_ENSURE(memories_.size() == static_cast<std::size_t>(session.num_ranks()));
  own_ = memories_[rank_.idx()];
}

PeerMemory::PeerMemory(RankId rank, std::span<const std::span<std::byte>> memories)
    : rank_(rank), own_(memories[rank.idx()]), memories_(memories.begin(), memories.end()), native_(std::make_unique<Native>()) {}

PeerMemory::~PeerMemory() = default;

void PeerMemory::allocate_window(Session& session, std::size_t own_bytes) {
  const MPI_Comm comm = session.world().native().comm;
  std::byte* base = nullptr;
  // Whole cache lines: where sizes are no multiples of 16 bytes, MPICH 4.0.2 reads beside the memory of the third rank of a
  // node and of those behind it.
  const std::size_t allocated = (own_bytes + 2 * cache_line_bytes - 1) / cache_line_bytes * cache_line_bytes;
  const int rc = MPI_Win_allocate(static_cast<MPI_Aint>(allocated), 1, MPI_INFO_NULL, comm, &base, &native_->window);
  if (rc != MPI_SUCCESS) {
    throw Failure(ExitCode::does_not_fit, "rank " + std::to_string(rank_.value) + " cannot allocate " + std::to_string(own_bytes) +
                                              " bytes that other ranks may read (MPI_Win_allocate failed; too little memory in /dev/shm, or the "
                                              "one-sided component does not work on this network) free memory there, choose another component, or "
                                              "run with rebalance.interval_s = 0");
  }
  mpi_check(MPI_Win_set_errhandler(native_->window, MPI_ERRORS_RETURN));
  mpi_check(MPI_Win_lock_all(0, native_->window));
  const std::size_t beyond = reinterpret_cast<std::uintptr_t>(base) % cache_line_bytes;
  const std::uint64_t skip = beyond == 0 ? 0 : cache_line_bytes - beyond, bytes = own_bytes;
  own_ = {base + skip, own_bytes};
  prefer_large_pages(own_);
  native_->skip_bytes.resize(static_cast<std::size_t>(session.num_ranks()));
  native_->num_bytes.resize(native_->skip_bytes.size());
  mpi_check(MPI_Allgather(&skip, 1, MPI_UINT64_T, native_->skip_bytes.data(), 1, MPI_UINT64_T, comm));
  mpi_check(MPI_Allgather(&bytes, 1, MPI_UINT64_T, native_->num_bytes.data(), 1, MPI_UINT64_T, comm));
}

void PeerMemory::publish(Session& session) {
  if (native_->window != MPI_WIN_NULL) mpi_check(MPI_Win_sync(native_->window));
  std::atomic_thread_fence(std::memory_order_release);
  session.barrier();
  std::atomic_thread_fence(std::memory_order_acquire);
  if (native_->window != MPI_WIN_NULL) mpi_check(MPI_Win_sync(native_->window));
}

void PeerMemory::store_word(std::size_t offset, std::uint64_t value) {
  MOEBIUS_EXPECT(offset % sizeof(std::uint64_t) == 0 && offset + sizeof(std::uint64_t) <= own_.size());
  if (native_->window != MPI_WIN_NULL) mpi_check(MPI_Win_sync(native_->window));  // what came before is seen first
  store_release(reinterpret_cast<std::uint64_t*>(own_.data() + offset), value);
  if (native_->window != MPI_WIN_NULL) mpi_check(MPI_Win_sync(native_->window));
}

PeerMemory::ReadId PeerMemory::start_read(RankId from, std::size_t offset, std::span<std::byte> to) {
  if (free_reads_.empty()) {
    free_reads_.push_back(reads_.size());
    reads_.emplace_back();
  }
  const ReadId id = free_reads_.back();
  free_reads_.pop_back();
  Read& read = reads_[id];
  read.to = to;
  if (!memories_.empty()) {
    const std::span<std::byte> memory = memories_.at(from.idx());
    MOEBIUS_EXPECT(offset <= memory.size() && to.size() <= memory.size() - offset);
    read.from = memory.data() + offset;
    return id;
  }
  MOEBIUS_EXPECT(from.idx() < native_->num_bytes.size() && to.size() <= static_cast<std::size_t>(std::numeric_limits<int>::max()));
  MOEBIUS_EXPECT(offset <= native_->num_bytes[from.idx()] && to.size() <= native_->num_bytes[from.idx()] - offset);
  const int bytes = static_cast<int>(to.size());
  mpi_check(MPI_Rget(to.data(), bytes, MPI_BYTE, from.value, static_cast<MPI_Aint>(native_->skip_bytes[from.idx()] + offset), bytes, MPI_BYTE,
                     native_->window, &read.request));
  return id;
}

bool PeerMemory::finished(ReadId id) {
  Read& read = reads_.at(id);
  if (!memories_.empty()) {
    if (read.to.size() == sizeof(std::uint64_t)) {
      const std::uint64_t word = load_acquire(reinterpret_cast<std::uint64_t*>(read.from));
      std::memcpy(read.to.data(), &word, sizeof(word));
    } else {
      std::memcpy(read.to.data(), read.from, read.to.size());
    }
  } else {
    int done = 0;
    mpi_check(MPI_Test(&read.request, &done, MPI_STATUS_IGNORE));
    if (done == 0) return false;
  }
  free_reads_.push_back(id);
  return true;
}

void PeerMemory::close() {
  for (Read& read : reads_) {
    if (read.request != MPI_REQUEST_NULL) mpi_check(MPI_Wait(&read.request, MPI_STATUS_IGNORE));
  }
  if (native_->window != MPI_WIN_NULL) {
    mpi_check(MPI_Win_unlock_all(native_->window));
    mpi_check(MPI_Win_free(&native_->window));
  }
  if (native_->node != nullptr) native_->node->close();
  own_ = {};
  memories_.clear();
}

}  // namespace moebius::comm
