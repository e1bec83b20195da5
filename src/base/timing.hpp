// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the time of a rank goes. One PhaseClock per rank; phases never overlap, so their sum is the
// wall time of the loop and `idle` is what is left over when there was nothing to do. In slow motion it goes by the rank's own
// time (ranks/stage_pace.hpp), so that phases last what the models say; what has no model there takes no time.

#include <array>
#include <cstdint>
#include <functional>
#include <string_view>

#include "base/timeline.hpp"

namespace moebius {

/// Stored by name in results (/ranks/timing).
enum class Phase : std::uint8_t {
  load,       ///< reading and packing weights
  admit,      ///< reading requests, tokenizing, cutting segments, ending sequences
  attention,  ///< embedding, norms, projections, attention over the KV cache, dense layers
  router,     ///< norm, router logits, top-k
  dispatch,   ///< writing token blocks, reading expert outputs (transport work with data)
  dispatch_wait,  ///< nothing to compute while token blocks wait for credit
  expert,     ///< routed expert feed-forward
  shared_experts,  ///< shared expert feed-forward, on attention ranks
  combine,    ///< weighted sum of expert outputs
  lm_head,    ///< final norm, logits, log-softmax, sampling
  io,         ///< writing row blocks
  rebalance,  ///< looking for a change of the placement, planning one, copying weights of experts
  idle,       ///< nothing to do: waiting for rows or for the other ranks
};
inline constexpr std::size_t num_phases = 13;
std::string_view to_string(Phase phase);

struct PhaseTotal {
  double seconds = 0;
  std::int64_t calls = 0, rows = 0, bytes = 0;
};

/// Accumulates; not thread-safe (one thread per rank).
class PhaseClock {
 public:
  PhaseClock();
  /// Account the time since the last mark to `phase`.
  void mark(Phase phase, std::int64_t rows = 0, std::int64_t bytes = 0);
  [[nodiscard]] const PhaseTotal& total(Phase phase) const { return totals_[static_cast<std::size_t>(phase)]; }
  /// By now_s().
  [[nodiscard]] double last_mark_s() const { return last_; }
  /// From here on it goes by a time that never falls: `time`, or now_s() where that is empty.
  void go_by(std::function<double()> time);
  /// From here on `timeline` hears of every mark; nullptr: nobody does.
  void record_in(Timeline* timeline) { timeline_ = timeline; }
  /// Where in the model the marks belong that follow.
  void enter(Stage stage) { stage_ = stage; }

 private:
  std::array<PhaseTotal, num_phases> totals_{};
  double last_, counted_;  // of the last mark by now_s(), and by the time that it goes by
  std::function<double()> time_;
  Timeline* timeline_ = nullptr;
  Stage stage_;
};

/// The marks within its life belong to `stage`.
class InStage {
 public:
  InStage(PhaseClock& clock, Stage stage) : clock_(clock) { clock.enter(stage); }
  InStage(const InStage&) = delete;
  InStage& operator=(const InStage&) = delete;
  ~InStage() { clock_.enter({}); }

 private:
  PhaseClock& clock_;
};

}  // namespace moebius
