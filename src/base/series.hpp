// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a rank has done so far and what waits, a few times a second: the course of a run in little memory. When there
// is no room left every second point goes and the period doubles; sums lose nothing by that.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/timing.hpp"

namespace moebius {

/// Sums since the start of the loop, and lengths of queues at that moment.
struct SeriesPoint {
  double time_s = 0;                            ///< since the start of the loop
  std::array<double, num_phases> seconds{};     ///< they add up to time_s, less what the loop began with
  std::int64_t tokens_fed = 0, tokens_out = 0;  ///< positions computed; tokens scored or generated
  std::int64_t expert_rows = 0;                 ///< computed by the experts of the rank
  std::int64_t queued_tokens = 0;               ///< wait for attention
  std::int64_t queued_rows = 0;                 ///< wait for the experts of the rank
};

class Series {
 public:
  Series(double period_s, std::size_t max_points);
  /// The period has passed since the last point.
  [[nodiscard]] bool due(double time_s) const { return time_s >= next_s_; }
  void add(const SeriesPoint& point);
  [[nodiscard]] std::span<const SeriesPoint> points() const { return points_; }

 private:
  double period_s_, next_s_ = 0;
  std::size_t max_points_;
  std::vector<SeriesPoint> points_;
};

}  // namespace moebius
