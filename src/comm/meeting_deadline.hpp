// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ends this process when the ranks do not come together in time while a job is set up or wound up: MPI's collectives
// wait for ever for a rank that hangs. Between the two the loop of a rank never blocks and has the watchdog, with one
// exception: where one-sided operations are made in software, a call that completes them waits until the target is inside of
// MPI, for ever if that rank hangs. A call that lasts too long ends the process as well. The launcher ends the other ranks
// when one is gone. One per process; a timer and a signal (SIGALRM), no thread.

#include <ctime>
#include <string>

#include "base/ids.hpp"

namespace moebius::comm {

/// Around a call of MPI that may wait for another rank: two stores.
class CallThatWaits {
 public:
  explicit CallThatWaits(RankId for_rank);
  CallThatWaits(const CallThatWaits&) = delete;
  CallThatWaits& operator=(const CallThatWaits&) = delete;
  ~CallThatWaits();
};

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
  /// No meetings until the next start. From now on a CallThatWaits that lasts longer than `limit_s` (up to a quarter more; 0: as
  /// long as it takes) ends the process with 71 and a line that says who waited for whom; `role` is for that line.
  void watch_calls(double limit_s, RankId rank, const std::string& role);

 private:
  void pause();
  void set_timer(double seconds, double period_s);

  timer_t timer_{};
  double limit_s_ = 0;
};

}  // namespace moebius::comm
