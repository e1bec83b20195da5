// SPDX-License-Identifier: Apache-2.0
#pragma once
// The memory that the ranks of a run share, by whatever way: rings, rows in place, attention weights, experts that move, and
// the collectives of lock-step. Constructor and close() are collectives; in between ranks set up, publish(), and run.

#include <map>
#include <memory>
#include <span>

#include "base/job.hpp"
#include "comm/all_to_all.hpp"
#include "comm/node_segments.hpp"
#include "comm/peer_memory.hpp"
#include "comm/session.hpp"
#include "comm/shared_memory.hpp"
#include "comm/window.hpp"
#include "ranks/job_setup.hpp"

namespace moebius::ranks {

class RunMemory {
 public:
  RunMemory(comm::Session& session, const Job& job, const JobSetup& setup);

  [[nodiscard]] comm::Window& window() { return window_; }
  [[nodiscard]] const comm::SharedMemory& weights() const { return weights_; }
  /// What ranks of this node have in flight, where it may be read and answered in place; else empty.
  [[nodiscard]] std::map<RankId, std::span<std::byte>> exchanges() const;
  [[nodiscard]] comm::AllToAll* all_to_all() { return lockstep_ ? &all_to_all_ : nullptr; }
  [[nodiscard]] comm::PeerMemory* peers() const { return peers_.get(); }  ///< nullptr where experts stay

  /// Collective: all weights are in place.
  void publish(comm::Session& session);
  /// Collective, when nobody reads or writes any more.
  void close();

 private:
  bool lockstep_;
  comm::NodeSegments exchanges_;
  comm::Window window_;
  comm::SharedMemory weights_;
  comm::AllToAll all_to_all_;
  std::unique_ptr<comm::PeerMemory> peers_;
};

}  // namespace moebius::ranks
