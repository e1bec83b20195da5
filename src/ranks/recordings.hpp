// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a rank records of its own course: a series of points in every run, each interval of the loop where run.timeline
// asks for it. Times count from the same moment on all ranks of one node; on several nodes, whose clocks know nothing of
// each other, from the moment that each rank's loop began. In slow motion timeline and phases have the ranks' own times, which do not
// know that a rank was late, so that what they show is what the models say; points of the series are taken by the clock.

#include <array>
#include <cstdint>
#include <optional>

#include "base/job.hpp"
#include "base/series.hpp"
#include "base/timeline.hpp"
#include "comm/session.hpp"
#include "ranks/rank_engine.hpp"

namespace moebius::ranks {

/// Most intervals that a rank of so many records: bounds its memory, and that of rank 0, which gathers them.
std::size_t max_intervals(int num_ranks);
std::size_t max_series_points(int num_ranks);

class Recordings {
 public:
  explicit Recordings(PhaseClock& clock) : clock_(clock) {}
  Recordings(const Recordings&) = delete;
  Recordings& operator=(const Recordings&) = delete;

  /// Collective, as the last thing before the loop. The engine is looked at from now on.
  void begin(comm::Session& session, const Job& job, RankEngine& engine);
  /// A point where one is due; cheap where not. Nothing before begin().
  void look(double now) {
    if (series_ && series_->due(now - origin_s_)) take_point();
  }
  /// The last point; the timeline ends.
  void end();

  /// When the loop began, by now_s().
  [[nodiscard]] double begin_s() const { return begin_s_; }
  [[nodiscard]] const std::optional<Timeline>& timeline() const { return timeline_; }
  [[nodiscard]] const std::optional<Series>& series() const { return series_; }

 private:
  void take_point();

  PhaseClock& clock_;
  RankEngine* engine_ = nullptr;
  double origin_s_ = 0, begin_s_ = 0;
  std::array<double, num_phases> before_{};  // seconds of the phases when the loop began
  std::optional<Timeline> timeline_;
  std::optional<Series> series_;
};

}  // namespace moebius::ranks
