// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ends a test that hangs. The loop under test calls progressed() when something happened and check()
// in every turn; when nothing happened for `limit_s`, check() prints who waits for whom and ends all
// ranks with exit code 71. Should the thread itself hang (inside an MPI call), a second thread prints
// the last text it was given and ends the process with the same code, which ends the job.

#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>

#include "comm/session.hpp"

namespace moebius::test {

class TestWatchdog {
 public:
  /// `describe` says what this rank waits for; it runs on the thread that calls check().
  TestWatchdog(double limit_s, std::function<std::string()> describe)
      : limit_s_(limit_s),
        describe_(std::move(describe)),
        last_(Clock::now()),
        guard_([this](const std::stop_token& stop) { stand_by(stop); }) {}

  void progressed() {
    const std::lock_guard lock(mutex_);
    last_ = Clock::now();
  }

  void check() {
    if (quiet_s() < limit_s_) return;
    report(describe_().c_str());
    comm::Session::abort(ExitCode::watchdog);
  }

 private:
  using Clock = std::chrono::steady_clock;

  double quiet_s() {
    const std::lock_guard lock(mutex_);
    return std::chrono::duration<double>(Clock::now() - last_).count();
  }

  void report(const char* text) const {
    std::fprintf(stderr, "watchdog: no progress for %.0f s\n%s\n", limit_s_, text);
    std::fflush(stderr);
  }

  void stand_by(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    std::condition_variable_any wake;
    while (!stop.stop_requested()) {
      wake.wait_for(lock, stop, std::chrono::milliseconds(200), [] { return false; });
      const double quiet = std::chrono::duration<double>(Clock::now() - last_).count();
      if (quiet < 2 * limit_s_ + 5) continue;  // check() has the better text, so it goes first
      report("the loop itself is stuck (it did not come back to its watchdog)");
      std::_Exit(static_cast<int>(ExitCode::watchdog));
    }
  }

  double limit_s_;
  std::function<std::string()> describe_;
  std::mutex mutex_;
  Clock::time_point last_;
  std::jthread guard_;  // last: it uses all of the above
};

}  // namespace moebius::test
