// SPDX-License-Identifier: Apache-2.0
#include "base/clock.hpp"

#include <chrono>
#include <thread>

namespace moebius {
namespace {

double steady_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void steady_sleep(double time_s) {
  using Clock = std::chrono::steady_clock;
  std::this_thread::sleep_until(Clock::time_point(std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(time_s))));
}

// The mutable globals of the program, as the clock seam of ARCHITECTURE section 7 asks.
ClockSource source = steady_s;
Sleeper sleeper = steady_sleep;

}  // namespace

double now_s() { return source(); }

void sleep_until_s(double time_s) { sleeper(time_s); }

void set_clock_source(ClockSource other, Sleeper other_sleeper) {
  source = other != nullptr ? other : steady_s;
  sleeper = other_sleeper != nullptr ? other_sleeper : steady_sleep;
}

}  // namespace moebius
