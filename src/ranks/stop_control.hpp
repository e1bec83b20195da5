// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ends a run before its input does, on all ranks: this rank's signals become counters that all ranks look at, and what
// they say, the rows that failed (run.max_errors) and the time decide by StopPlan. No collective: a rank that is told late only works a little longer.

#include <cstdint>
#include <unordered_map>

#include "base/job.hpp"
#include "comm/control_board.hpp"
#include "comm/session.hpp"
#include "ranks/stop_plan.hpp"

namespace moebius::ranks {

/// Collective, at the start of a run: from here on signals ask it to stop. Rank 0 looks at the job's walltime and asks Slurm;
/// each rank gets the deadline on its own clock.
StopLimits agree_on_stop_limits(comm::Session& session, const Job& job);

class StopControl {
 public:
  /// `max_errors` as run.max_errors: with more failed rows, those of earlier runs included, what is not finished is dropped.
  StopControl(comm::ControlBoard& board, const StopLimits& limits, std::int64_t max_errors = -1)
      : board_(board), plan_(limits), max_errors_(max_errors) {}

  enum class Step : std::uint8_t { none, commit, drop };
  /// To be called a few times a second. `commit` once, where the run was told to stop: commit what is finished and go on with
  /// what is claimed; `drop` once, where the time for that is over.
  Step look(double now);

  /// Before the loop, while weights are read: Failure(stopped_early) where this run is to stop. Nothing is committed then, and
  /// nothing has been computed.
  void check_before_loop();
  /// The loop begins, and what earlier runs counted is known: the next look reads it, however short ago the last one was.
  void begin_loop() { next_read_s_ = 0; }

  /// Whether this rank may take another line.
  [[nodiscard]] bool may_claim();
  /// This rank took a line; all its rows are there.
  void claimed(std::int64_t input_line);
  void emitted(std::int64_t input_line);

 private:
  void exchange(double now);

  comm::ControlBoard& board_;
  StopPlan plan_;
  std::int64_t max_errors_;
  int signals_told_ = 0;
  double next_read_s_ = 0;
  bool committed_ = false, dropped_ = false;
  std::unordered_map<std::int64_t, double> claimed_at_;  // lines of this rank that are not finished
};

}  // namespace moebius::ranks
