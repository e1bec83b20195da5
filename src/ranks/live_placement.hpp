// SPDX-License-Identifier: Apache-2.0
#pragma once
// The part of a rank in a placement that changes while the job runs (ARCHITECTURE section 5). Called in every turn of the
// loop; never waits, and does a little at a time.
//
// The coordinator announces the moves of a new generation. Each rank reads them; one that experts go to copies their packed
// weights from where they are, a piece a turn, into spare parts, and all acknowledge. When all have, the coordinator
// publishes the generation: attention ranks send by it from their next look on, and tell when all that they had sent by
// the one before is answered. Then the coordinator ends the change: places that experts have left are empty, their parts
// spare. So a row always finds its expert: the new place is filled before anybody knows of it, and the old one is
// kept until nobody has a row there. Weights are copied byte for byte, so the bits of outputs stay.
//
// In slow motion copying takes a device no time to compute, but an expert is not there before its published weights would have
// come over the link, one after the other into a rank; tokens on the same link are not held up by them.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "comm/peer_memory.hpp"
#include "model/expert_stack.hpp"
#include "policy/placement_book.hpp"
#include "ranks/attention_side.hpp"
#include "ranks/coordinator.hpp"
#include "ranks/expert_side.hpp"
#include "ranks/rebalance_board.hpp"

namespace moebius::ranks {

/// What it cost a rank.
struct LiveCounters {
  std::int64_t experts_received = 0, bytes_staged = 0;
  double staging_s = 0, total_s = 0;
  double largest_stall_s = 0;  ///< the most that one turn of the loop spent
};

class LivePlacement {
 public:
  struct Parts {
    comm::PeerMemory& memory;  ///< of BoardLayout, the experts' parts among it
    BoardLayout layout;
    std::span<const RankId> expert_ranks;
    policy::TablePlacement* placement;    ///< what attention sends by; nullptr without the role
    AttentionSide* attention;             ///< nullptr without the role
    model::ExpertStack* stack;            ///< nullptr without the role
    ExpertSide* experts;                  ///< nullptr without the role
    std::unique_ptr<Coordinator> coordinator;  ///< on the first expert rank
    double interval_s;
    double copy_s = 0;  ///< slow motion: how long an expert is under way; 0: as long as it takes
  };
  LivePlacement(Parts parts, policy::PlacementBook book);

  /// Whether there may be something to do.
  [[nodiscard]] bool is_due(double now) const { return now >= next_look_s_ || !staging_.empty(); }
  void turn(double now);
  /// The rank's loop has ended: others need not wait for it.
  void leave();

  [[nodiscard]] const LiveCounters& counters() const { return counters_; }
  [[nodiscard]] const Coordinator* coordinator() const { return parts_.coordinator.get(); }

 private:
  /// Weights that come here: one expert after the other, one piece after the other.
  struct Staging {
    policy::ExpertMove move;
    std::size_t num_copied = 0;
  };
  void look();
  void follow(std::uint64_t stage);
  void read_moves();
  void take_moves();
  void stage(double now);
  /// Starts to copy the next piece of the expert in hand; in slow motion at begin_s.
  void copy_next(double begin_s);
  void adopt(const policy::ExpertMove& move);
  void send_by_new();
  void end_change();
  void publish_figures(double now);

  Parts parts_;
  policy::PlacementBook book_;
  RankId self_, coordinator_rank_;
  std::int32_t expert_rank_idx_ = -1;  // -1: no expert rank
  std::uint32_t known_ = 0;            // newest generation whose moves are known
  std::uint32_t reading_ = 0;          // generation whose moves are being read; 0: none
  std::uint64_t stage_seen_ = 0, told_moved_on_ = 0;
  bool looking_ = false;
  comm::PeerMemory::ReadId look_read_ = 0, moves_read_ = 0, copy_read_ = 0;
  std::vector<std::byte> moves_bytes_;
  std::vector<policy::ExpertMove> moves_;  // of the generation known_
  std::vector<Staging> staging_;           // last one first
  std::size_t copy_bytes_ = 0;             // of the piece in hand
  bool copying_ = false;
  double copied_s_ = 0;                    // not before that is the piece in hand there
  double next_look_s_ = 0, next_figures_s_ = 0;
  std::vector<std::int64_t> rows_;         // [layer, expert]
  LiveCounters counters_;
};

}  // namespace moebius::ranks
