// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a user sees while a job runs: a bar on a terminal, JSON lines elsewhere, from rank 0 only, on
// stderr. Display only; nothing depends on it.

#include <cstdint>
#include <string>

#include "base/job.hpp"

namespace moebius::ranks {

struct ProgressNumbers {
  std::int64_t requests_done = 0, num_requests = 0, rows_failed = 0, tokens = 0;
  std::int64_t queued_rows = 0;   ///< micro-queues of all ranks together
  double imbalance = 1.0;         ///< busiest expert rank over the mean, in expert rows computed so far
  double dilation = 0;            ///< slow motion: seconds here for one of the device, whose rate is shown; 0: real time
};

class ProgressDisplay {
 public:
  /// `automatic` becomes a bar where stderr is a terminal, else JSON lines.
  explicit ProgressDisplay(ProgressKind kind);
  /// Is it time to show something? To be asked before the numbers are collected.
  [[nodiscard]] bool due(double now) const;
  void show(const ProgressNumbers& numbers, double now);
  /// Last state and end of line.
  void finish(const ProgressNumbers& numbers, double now);

 private:
  void write(const ProgressNumbers& numbers, double now) const;
  ProgressKind kind_;
  double start_s_, next_s_, period_s_;
};

/// One line of text or JSON; pure, for tests.
std::string progress_line(ProgressKind kind, const ProgressNumbers& numbers, double elapsed_s);

}  // namespace moebius::ranks
