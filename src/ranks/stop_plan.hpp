// SPDX-License-Identifier: Apache-2.0
#pragma once
// When a run ends before its input does: decided by each rank for itself, from its own clock, the requests it has
// seen, and what the ranks were told by signals. Pure: the caller gives the time and the signals.
//
// Two steps. Finish: claim nothing more, compute what is claimed. Drop: commit the rows that are finished and give
// up the rest, which the next run computes. The first signal is the first step, with grace_s until the second; the
// second signal is the second step. A walltime is a deadline for the second step a margin before its end; the first
// step comes before that, as early as the longest request so far says.

#include <algorithm>
#include <cstdint>
#include <limits>

namespace moebius::ranks {

struct StopLimits {
  double end_s = std::numeric_limits<double>::infinity();  ///< of now_s(): the job is killed then
  double margin_s = 0;  ///< before end_s nothing may be left to do
  double grace_s = 0;   ///< between the first signal and the second step
};

/// Margin for a walltime: a twentieth of it, at least 1 s, at most 60 s: commit, wind-up and the launcher take time.
constexpr double stop_margin_s(double walltime_s) { return std::clamp(walltime_s / 20, 1.0, 60.0); }

class StopPlan {
 public:
  explicit StopPlan(const StopLimits& limits) : limits_(limits), drop_s_(limits.end_s - limits.margin_s) {}

  /// What all ranks together were told: 0 nothing, 1 stop, 2 stop at once. Never falls.
  void hear(int level, double now) {
    if (level >= 1 && level_ < 1) drop_s_ = std::min(drop_s_, now + limits_.grace_s);
    if (level >= 2) drop_s_ = std::min(drop_s_, now);
    level_ = std::max(level_, level);
  }
  /// A request of this rank took so long from its claim to its rows.
  void request_took(double seconds) { longest_request_s_ = std::max(longest_request_s_, seconds); }

  /// Would one more request probably be finished in time?
  [[nodiscard]] bool may_claim(double now) const { return level_ == 0 && now + patience * longest_request_s_ < drop_s_; }
  [[nodiscard]] bool must_drop(double now) const { return now >= drop_s_; }
  [[nodiscard]] bool was_told() const { return level_ > 0; }

 private:
  /// Requests to come may be longer than those that were.
  static constexpr double patience = 1.25;
  StopLimits limits_;
  double drop_s_;
  double longest_request_s_ = 0;
  int level_ = 0;
};

}  // namespace moebius::ranks
