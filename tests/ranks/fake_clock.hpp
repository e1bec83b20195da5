// SPDX-License-Identifier: Apache-2.0
#pragma once
// A clock that a test sets, and that sleeping moves on.

#include <algorithm>

#include "base/clock.hpp"

namespace moebius::ranks {

inline double fake_now_s = 0;

class FakeClock {
 public:
  FakeClock() {
    fake_now_s = 0;
    set_clock_source([] { return fake_now_s; }, [](double time_s) { fake_now_s = std::max(fake_now_s, time_s); });
  }
  FakeClock(const FakeClock&) = delete;
  FakeClock& operator=(const FakeClock&) = delete;
  ~FakeClock() { set_clock_source(nullptr); }
};

}  // namespace moebius::ranks
