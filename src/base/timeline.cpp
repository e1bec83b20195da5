// SPDX-License-Identifier: Apache-2.0
#include "base/timeline.hpp"

#include "base/timing.hpp"

namespace moebius {
namespace {

bool waits(Phase phase) { return phase == Phase::idle || phase == Phase::dispatch_wait; }

}  // namespace

Timeline::Timeline(double origin_s, std::size_t max_intervals) : origin_s_(origin_s), max_intervals_(max_intervals) {
  intervals_.reserve(max_intervals);
  transfers_.reserve(max_intervals / 2);
}

void Timeline::add(const Interval& interval) {
  const double end_s = interval.end_s - origin_s_;
  if (num_left_out_ == 0 && !intervals_.empty() && waits(interval.phase)) {
    Interval& last = intervals_.back();
    if (last.phase == interval.phase && last.stage == interval.stage) {
      last.end_s = end_s;
      last.rows += interval.rows;
      return;
    }
  }
  if (intervals_.size() == max_intervals_) {
    ++num_left_out_;
    return;
  }
  intervals_.push_back(interval);
  intervals_.back().begin_s -= origin_s_;
  intervals_.back().end_s = end_s;
}

void Timeline::add(const Transfer& transfer) {
  if (transfers_.size() == max_intervals_ / 2) {
    ++num_transfers_left_out_;
    return;
  }
  transfers_.push_back(transfer);
  transfers_.back().begin_s -= origin_s_;
  transfers_.back().end_s -= origin_s_;
}

}  // namespace moebius
