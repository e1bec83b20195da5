// SPDX-License-Identifier: Apache-2.0
#include "base/timing.hpp"

#include <utility>

#include "base/clock.hpp"

namespace moebius {

std::string_view to_string(Phase phase) {
  static constexpr std::array<std::string_view, num_phases> names = {
      "load", "admit", "attention", "router", "dispatch", "dispatch_wait", "expert", "shared_experts", "combine", "lm_head", "io", "rebalance", "idle"};
  return names[static_cast<std::size_t>(phase)];
}

PhaseClock::PhaseClock() : last_(now_s()), counted_(last_) {}

void PhaseClock::mark(Phase phase, std::int64_t rows, std::int64_t bytes) {
  last_ = now_s();
  const double now = time_ ? time_() : last_;
  PhaseTotal& total = totals_[static_cast<std::size_t>(phase)];
  total.seconds += now - counted_;
  total.calls += 1;
  total.rows += rows;
  total.bytes += bytes;
  if (timeline_ != nullptr) timeline_->add({counted_, now, rows, stage_, phase});
  counted_ = now;
}

void PhaseClock::go_by(std::function<double()> time) {
  time_ = std::move(time);
  counted_ = time_ ? time_() : last_;
}

}  // namespace moebius
