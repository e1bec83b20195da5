// SPDX-License-Identifier: Apache-2.0
#pragma once
// Memory that ranks of one node fill together while a run is set up and only read afterwards: packed attention
// weights. One MPI_Win_allocate_shared per node over the ranks that take part; no other rank is in it.
//
// The constructor, publish() and close() are collectives; the destructor makes no MPI call.

#include <cstddef>
#include <memory>
#include <span>

#include "comm/session.hpp"
#include "comm/window.hpp"

namespace moebius::comm {

class SharedMemory {
 public:
  /// Collective over all ranks. A rank takes part with a number of bytes, the same for all that do, or stays out
  /// with 0. Ranks that sit on one node (Session::node_idx_of) share. A rank that is alone, that may not share
  /// (FastPath::off), or to which MPI refuses the memory, gets none: memory() is empty and num_members() is 1.
  SharedMemory(Session& session, std::size_t bytes, FastPath fast_path = fast_path_from_environment());
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory();

  /// On a cache line border; the same bytes in every rank that shares. Not initialised.
  [[nodiscard]] std::span<std::byte> memory() const { return memory_; }
  [[nodiscard]] int member_idx() const { return member_idx_; }
  [[nodiscard]] int num_members() const { return num_members_; }

  /// Collective over the members: everybody has stored, and sees what the others stored.
  void publish();
  /// Collective over the members; on the good path, when nobody reads any more.
  void close();

 private:
  struct Native;
  std::unique_ptr<Native> native_;
  std::span<std::byte> memory_;
  int member_idx_ = 0, num_members_ = 1;
};

}  // namespace moebius::comm
