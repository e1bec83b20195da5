// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a rank did when: every stretch of time that a PhaseClock accounts, one after the other, without gaps or overlap.
// Memory is bounded: what no longer fits is counted and left out, so that a recording is exact up to where it ends.
// Beside it the messages with rows that came to the rank, so that what ranks did can be put in relation.

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace moebius {

enum class Phase : std::uint8_t;

/// Where in the model a rank works. -1: in no layer; place -1: not for one physical expert; micro_batch: of a pipeline, from
/// the begin of the run on, else -1.
struct Stage {
  std::int32_t layer = -1, place = -1, micro_batch = -1;
  bool operator==(const Stage&) const = default;
};

struct Interval {
  double begin_s = 0, end_s = 0;  ///< since the origin of the recording
  std::int64_t rows = 0;
  Stage stage;
  Phase phase{};
};

/// A message with rows that came from another rank.
struct Transfer {
  double begin_s = 0, end_s = 0;  ///< handed over by the sender, and taken; in slow motion when it began to leave, and was there
  double link_s = 0;              ///< slow motion: what it takes on a link; 0 in real time
  std::int64_t pairs = 0;         ///< (row, expert)
  std::int64_t bytes = 0;         ///< of the message
  std::int32_t from = -1, layer = -1;
  std::int32_t micro_batch = -1, part = -1;  ///< of a pipeline, by the attention rank that sent the rows; else -1
  std::int32_t call = -1;         ///< outputs: of which expert call of the sender, from 0; -1: rows for experts
  bool operator==(const Transfer&) const = default;
};

class Timeline {
 public:
  /// Times are given as now_s() has them. Room for the most intervals is asked for at once, and touched as it fills.
  Timeline(double origin_s, std::size_t max_intervals);
  /// Neighbours that only wait, in the same way, become one.
  void add(const Interval& interval);
  /// Room for half as many of these as of intervals: expert calls have three intervals, and a message to each of their sources.
  void add(const Transfer& transfer);
  [[nodiscard]] std::span<const Interval> intervals() const { return intervals_; }
  [[nodiscard]] std::span<const Transfer> transfers() const { return transfers_; }
  /// Intervals and transfers that came when there was no room left.
  [[nodiscard]] std::int64_t num_left_out() const { return num_left_out_ + num_transfers_left_out_; }

 private:
  double origin_s_;
  std::size_t max_intervals_;
  std::vector<Interval> intervals_;
  std::vector<Transfer> transfers_;
  std::int64_t num_left_out_ = 0, num_transfers_left_out_ = 0;
};

}  // namespace moebius
