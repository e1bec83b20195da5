// SPDX-License-Identifier: Apache-2.0
#include "ranks/stop_signals.hpp"

#include <algorithm>
#include <atomic>
#include <csignal>

namespace moebius::ranks {
namespace {

std::atomic<int> num_signals = 0;
static_assert(std::atomic<int>::is_always_lock_free);  // a signal handler may use it

void count(int /*signal*/) { num_signals.fetch_add(1, std::memory_order_relaxed); }

}  // namespace

void watch_stop_signals() {
  num_signals = 0;
  struct sigaction action {};
  action.sa_handler = count;
  action.sa_flags = SA_RESTART;  // what is being written goes on
  ::sigemptyset(&action.sa_mask);
  for (const int signal : {SIGUSR1, SIGTERM}) ::sigaction(signal, &action, nullptr);
}

int num_stop_signals() { return std::min(num_signals.load(std::memory_order_relaxed), 2); }

}  // namespace moebius::ranks
