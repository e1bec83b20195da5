// SPDX-License-Identifier: Apache-2.0
#pragma once
// Decides, on one rank of the job and in its loop, when experts move, and takes all ranks from one generation of the
// placement to the next (live_placement.hpp). One change at a time:
//
//   waiting   for the end of an interval, and until enough rows have come to learn from
//   reading   what each expert rank has computed
//   planning  a few exchanges of a layer a turn (policy/rebalance.hpp)
//   staging   until all ranks have acknowledged the moves
//   leaving   until all attention ranks have moved on
//
// Of a change it notes what it was to save and what it has saved: expert time of the busiest rank per row, in the windows that
// it was decided by and in all that follow until the next change, over the rows of the horizon; and by the first of these
// windows how much time ranks spent copying.

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

#include "base/job.hpp"
#include "base/model_config.hpp"
#include "comm/peer_memory.hpp"
#include "policy/placement_book.hpp"
#include "policy/rebalance.hpp"
#include "policy/speed_curve.hpp"
#include "ranks/peer_words.hpp"
#include "ranks/rebalance_board.hpp"

namespace moebius::ranks {

/// A change of the placement that was published.
struct LiveChange {
  double time_s = 0;        ///< of its publication, from the first turn of the coordinator's loop
  std::int32_t generation = 0, num_moves = 0;
  double predicted_s = 0;   ///< what it was to save over the horizon; of a forced one 0
  double cost_s = 0;        ///< what it was to cost
  double measured_s = std::numeric_limits<double>::quiet_NaN();  ///< what it saved; nan: the job ended before, or it was forced
  double staging_s = 0;     ///< from its announcement to its publication
  std::int64_t bytes = 0;   ///< of the weights that were copied
  double rank_s = std::numeric_limits<double>::quiet_NaN();  ///< what copying them took, sum of ranks; nan as measured_s
};

class Coordinator {
 public:
  struct Parts {
    comm::PeerMemory& memory;
    BoardLayout layout;
    const ModelConfig& config;
    Job::Rebalance options;
    std::uint64_t seed;
    std::vector<RankId> attention_ranks, expert_ranks;
    std::vector<policy::SpeedCurve> curves;  ///< [expert ranks]
    std::size_t expert_bytes;                ///< of packed weights
    double copy_s = 0;                       ///< slow motion: what copying an expert takes; 0: it is measured
  };
  Coordinator(Parts parts, policy::PlacementBook book);

  /// At most one step of what is to be done.
  void turn(double now);
  [[nodiscard]] const std::vector<LiveChange>& changes() const { return changes_; }
  /// Parts that each expert rank began with beyond those of its experts.
  [[nodiscard]] int num_spare() const { return parts_.options.spare_places; }
  /// The moves of all changes, one after the other.
  [[nodiscard]] const std::vector<policy::ExpertMove>& moves() const { return moves_; }

 private:
  enum class State : std::uint8_t { waiting, reading, planning, staging, leaving };
  /// What the expert ranks had done at a time.
  struct Snapshot {
    double time_s = 0;
    std::vector<RankFigures> figures;               // [expert ranks]
    std::vector<std::int64_t> rows;                 // [layer, expert] of all ranks together
  };
  /// Between two snapshots.
  struct Window {
    double length_s = 0;
    std::vector<double> expert_s;                   // [expert ranks] time in expert calls
    std::int64_t num_rows = 0;
    std::vector<std::int64_t> rows;                 // [layer, expert]
  };
  /// What the job did in windows that follow each other, or not.
  struct Pace {
    double length_s = 0, num_rows = 0;
    std::vector<double> expert_s;                   // [expert ranks]
    void add(const Window& window);
    [[nodiscard]] double busiest_s() const;
    [[nodiscard]] double busiest_s_per_row() const { return busiest_s() / num_rows; }
  };
  void start_reading();
  [[nodiscard]] bool finish_reading();
  void take_snapshot(double now);
  void measure_last_change(const Window& window);
  [[nodiscard]] Pace last_pace() const;             // of windows_
  [[nodiscard]] double copying_s() const;           // of all ranks, by the last snapshot
  void plan();
  void begin_layer(int layer);
  void decide(double now);
  [[nodiscard]] policy::RebalanceTerms terms() const;
  void announce(std::span<const policy::ExpertMove> moves, double now);
  void store_stage(Step step);

  Parts parts_;
  policy::PlacementBook book_;
  PeerWords acknowledged_, moved_on_;
  State state_ = State::waiting;
  std::uint32_t generation_ = 0;
  std::optional<double> start_s_;
  double next_s_ = 0, announced_s_ = 0;
  double num_experts_ = 0;                          // of all layers
  std::vector<std::vector<std::byte>> reports_;     // [expert ranks] figures and rows as they are read
  std::vector<std::optional<comm::PeerMemory::ReadId>> reads_;  // [expert ranks]
  Snapshot last_;
  std::vector<Window> windows_;                     // the last ones, oldest first
  int next_layer_ = 0;
  std::optional<policy::ExchangeSearch> search_;    // in the layer before next_layer_, until all of its exchanges are found
  std::vector<policy::LayerExchanges> exchanges_;   // of the layers planned so far
  LiveChange pending_;                              // announced, not yet published
  std::optional<Pace> before_last_change_;          // of a change that was decided, not forced
  Pace after_last_change_;
  double copied_before_s_ = 0;                      // copying_s() when it was decided
  std::vector<LiveChange> changes_;
  std::vector<policy::ExpertMove> moves_;
};

}  // namespace moebius::ranks
