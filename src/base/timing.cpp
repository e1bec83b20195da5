// SPDX-License-Identifier: Apache-2.0
#include "base/timing.hpp"

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
  if (timeline_ != nullptr) timeline_->add({last_, now, rows, stage_, phase});
  last_ = now;
}

}  // namespace moebius
