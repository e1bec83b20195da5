// SPDX-License-Identifier: Apache-2.0
#pragma once
// Called in every turn of the loop; a few times a second it tells the others what this rank does, adds
// to the shared counters, shows progress (rank 0), and looks for a job that has come to a stand.
//
// Watchdog: a rank that has had nothing to do for watchdog_s asks what all others do. If nobody has
// moved for that long, or a rank does not answer, nobody ever will: it prints who waits for whom and
// the job ends with exit code 71.

#include <cstdint>
#include <functional>
#include <vector>

#include "base/request.hpp"
#include "base/roles.hpp"
#include "comm/control_board.hpp"
#include "ranks/event_loop.hpp"
#include "ranks/progress.hpp"
#include "ranks/recordings.hpp"

namespace moebius::ranks {

class Heartbeat {
 public:
  /// How a rank that is done waits for the others; in slow motion they share its core.
  enum class Waiting : std::uint8_t { yielding, asleep };
  struct Parts {
    comm::Session& session;
    comm::ControlBoard& board;
    ProgressDisplay* display;          ///< rank 0 only
    std::int64_t num_requests;
    std::int64_t num_expert_ranks;
    double watchdog_s;
    std::vector<Roles> roles;          ///< [num_ranks], for the table
    Recordings& recordings;
    std::function<void(double now)> on_publish;  ///< called a few times a second, also while this rank waits for others
    Waiting waiting = Waiting::yielding;
    double dilation = 0;               ///< of slow motion, for the display; 0: real time
  };
  explicit Heartbeat(const Parts& parts);

  /// Rows of one request left this rank.
  void count_rows(const std::vector<Row>& rows);
  /// The end of a turn of the loop.
  void beat(const LoopStatus& status);
  /// This rank is done: wait, still making progress for the others, until all are.
  void wait_for_all(comm::Transport& transport, PhaseClock& clock);

 private:
  void publish(const LoopStatus& status, double now);
  [[nodiscard]] ProgressNumbers numbers();
  void check_for_stall(const LoopStatus& status, double now);
  [[noreturn]] void end_stalled_job(const std::vector<comm::RankState>& states, double now);

  Parts parts_;
  LoopStatus last_;
  double next_publish_s_ = 0, next_check_s_ = 0;
  std::int64_t new_requests_ = 0, new_failed_ = 0, new_tokens_ = 0;
};

}  // namespace moebius::ranks
