// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a rank did when: every stretch of time that a PhaseClock accounts, one after the other, without gaps or overlap.
// Memory is bounded: what no longer fits is counted and left out, so that a recording is exact up to where it ends.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moebius {

enum class Phase : std::uint8_t;

/// Where in the model a rank works. -1: in no layer; place -1: not for one physical expert.
struct Stage {
  std::int32_t layer = -1, place = -1;
  bool operator==(const Stage&) const = default;
};

struct Interval {
  double begin_s = 0, end_s = 0;  ///< since the origin of the recording
  std::int64_t rows = 0;
  Stage stage;
  Phase phase{};
};

class Timeline {
 public:
  /// Times are given as now_s() has them. Room for the most intervals is asked for at once, and touched as it fills.
  Timeline(double origin_s, std::size_t max_intervals);
  /// Neighbours that only wait, in the same way, become one.
  void add(const Interval& interval);
  [[nodiscard]] std::span<const Interval> intervals() const { return intervals_; }
  /// Intervals that came when there was no room left.
  [[nodiscard]] std::int64_t num_left_out() const { return num_left_out_; }

 private:
  double origin_s_;
  std::size_t max_intervals_;
  std::vector<Interval> intervals_;
  std::int64_t num_left_out_ = 0;
};

}  // namespace moebius
