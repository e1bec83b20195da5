// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ends this process when the ranks do not come together in time while a job is set up or wound up: MPI's collectives
// wait for ever for a rank that hangs. (Between the two the loop of a rank never blocks and has the watchdog.) The launcher
// ends the other ranks when one is gone. One per process; a timer and a signal (SIGALRM), no thread.

#include <ctime>

#include "base/ids.hpp"

namespace moebius::comm {

class MeetingDeadline {
 public:
  MeetingDeadline();
  MeetingDeadline(const MeetingDeadline&) = delete;
  MeetingDeadline& operator=(const MeetingDeadline&) = delete;
  ~MeetingDeadline();

  /// From now on at most `limit_s` pass between two meetings (0: as long as it takes); else the process says who waited and
  /// exits with 71.
  void start(double limit_s, RankId rank);
  /// The ranks came together: the time counts anew.
  void met();
  /// No limit until the next start.
  void pause();

 private:
  void set_timer(double seconds);

  timer_t timer_{};
  double limit_s_ = 0;
};

}  // namespace moebius::comm
