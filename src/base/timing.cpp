// SPDX-License-Identifier: Apache-2.0
#include "base/timing.hpp"

#include <utility>

#include "base/clock.hpp"

namespace moebius {

std::string_view to_string(Phase phase) {
  static constexpr std::array<std::string_view, num_phases> names = {
      "load", "admit", "attention", "router", "dispatch", "dispatch_wait", "expert", "shared_experts", "combine", "lm_head", "io", "idle"};
  return names[static_cast<std::size_t>(phase)];
}

PhaseClock::PhaseClock() : last_(now_s()) {}

void PhaseClock::mark(Phase phase, std::int64_t rows, std::int64_t bytes) {
  const double now = now_s();
  PhaseTotal& total = totals_[static_cast<std::size_t>(phase)];
  total.seconds += now - last_;
  total.calls += 1;
  total.rows += rows;
  total.bytes += bytes;
  last_ = now;
  if (timeline_ == nullptr) return;
  const double recorded = time_ ? time_() : now;
  timeline_->add({last_recorded_, recorded, rows, stage_, phase});
  last_recorded_ = recorded;
}

void PhaseClock::record_in(Timeline* timeline, std::function<double()> time) {
  timeline_ = timeline;
  time_ = std::move(time);
  last_recorded_ = time_ ? time_() : last_;
}

}  // namespace moebius
