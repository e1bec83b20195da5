// SPDX-License-Identifier: Apache-2.0
#include "comm/meeting_deadline.hpp"

#include <unistd.h>

#include <cmath>
#include <csignal>
#include <cstdio>

#include "base/check.hpp"
#include "base/failure.hpp"

namespace moebius::comm {
namespace {

// What the signal handler says; written only while the timer does not run.
char message[320];
std::size_t message_length = 0;

void end_process(int /*signal*/) {
  // Only calls that a handler may make: the main thread stands somewhere inside MPI.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, message, message_length);
  ::_exit(static_cast<int>(ExitCode::watchdog));
}

}  // namespace

MeetingDeadline::MeetingDeadline() {
  struct sigaction action {};
  action.sa_handler = end_process;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGALRM, &action, nullptr);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGALRM;
  MOEBIUS_ENSURE(::timer_create(CLOCK_MONOTONIC, &event, &timer_) == 0);
}

MeetingDeadline::~MeetingDeadline() { ::timer_delete(timer_); }

void MeetingDeadline::start(double limit_s, RankId rank) {
  pause();
  limit_s_ = limit_s;
  const int length = std::snprintf(message, sizeof message,
                                   "moebius: rank %d waited %.0f s for the other ranks while the job was set up or wound up (one of them "
                                   "hangs or is very slow; those that wait say so) look at the ranks that say nothing, or raise "
                                   "run.setup_limit_s\n",
                                   rank.value, limit_s);
  message_length = static_cast<std::size_t>(length);
  met();
}

void MeetingDeadline::met() {
  if (limit_s_ > 0) set_timer(limit_s_);
}

void MeetingDeadline::pause() {
  limit_s_ = 0;
  set_timer(0);
}

void MeetingDeadline::set_timer(double seconds) {
  const double whole = std::floor(seconds);
  itimerspec at{};
  at.it_value = {.tv_sec = static_cast<time_t>(whole), .tv_nsec = static_cast<long>((seconds - whole) * 1e9)};
  ::timer_settime(timer_, 0, &at, nullptr);
}

}  // namespace moebius::comm
