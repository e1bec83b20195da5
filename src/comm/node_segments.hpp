// SPDX-License-Identifier: Apache-2.0
#pragma once
// Memory that each rank gives to the other ranks of its node for the length of a run: load and store on all of it. Who
// may touch what and when is the users' protocol; messages through rings on shared memory order their accesses. One
// MPI_Win_allocate_shared per node.
//
// The constructor and close() are collectives; the destructor makes no MPI call.

#include <cstddef>
#include <map>
#include <memory>
#include <span>

#include "comm/session.hpp"
#include "comm/window.hpp"

namespace moebius::comm {

class NodeSegments {
 public:
  /// Collective over all ranks; own_bytes may differ and be 0. A rank that is alone on its node
  /// (Session::node_idx_of), that may not share (FastPath::off), or to which MPI refuses the memory, gets none.
  NodeSegments(Session& session, std::size_t own_bytes, FastPath fast_path = fast_path_from_environment());
  NodeSegments(const NodeSegments&) = delete;
  NodeSegments& operator=(const NodeSegments&) = delete;
  ~NodeSegments();

  /// The ranks that share with this one, itself among them, and the memory that each gave: on cache line borders, not
  /// initialised. Empty where nothing is shared.
  [[nodiscard]] const std::map<RankId, std::span<std::byte>>& segments() const { return segments_; }

  /// Collective over the ranks of a node; on the good path, when nobody touches any of it any more.
  void close();

 private:
  struct Native;
  void map_segments(Session& session, std::size_t own_bytes);

  std::unique_ptr<Native> native_;
  std::map<RankId, std::span<std::byte>> segments_;
};

}  // namespace moebius::comm
