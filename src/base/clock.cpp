// SPDX-License-Identifier: Apache-2.0
#include "base/clock.hpp"

#include <chrono>

namespace moebius {
namespace {

double steady_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The one mutable global of the program, as the clock seam of ARCHITECTURE section 7 asks.
ClockSource source = steady_s;

}  // namespace

double now_s() { return source(); }

void set_clock_source(ClockSource other) { source = other != nullptr ? other : steady_s; }

}  // namespace moebius
