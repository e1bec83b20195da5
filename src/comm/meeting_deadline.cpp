// SPDX-License-Identifier: Apache-2.0
#include "comm/meeting_deadline.hpp"

#include <unistd.h>

#include <atomic>
#include <cmath>
#include <csignal>
#include <cstdio>

#include "base/check.hpp"
#include "base/failure.hpp"

namespace moebius::comm {
namespace {

// What the signal handler says, and of a call the rank that is waited for between the two; written only while the timer does
// not run.
char message[320], message_end[160];
std::size_t message_length = 0, message_end_length = 0;
bool watches_calls = false;

// Odd while a call goes on; its number tells one call from the next.
std::atomic<std::uint32_t> num_steps = 0;
std::atomic<std::int32_t> waits_for = -1;
static_assert(std::atomic<std::uint32_t>::is_always_lock_free && std::atomic<std::int32_t>::is_always_lock_free);
/// The handler looks so often within the limit.
constexpr int looks_per_limit = 4;
std::uint32_t last_seen = 0;
int num_looks = 0;

/// One thread makes calls.
void step() { num_steps.store(num_steps.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed); }

void say(const char* text, std::size_t length) { [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text, length); }

/// Only with calls that a handler may make.
std::size_t write_number(std::int32_t number, char* to) {
  char digits[12];
  std::size_t count = 0;
  do digits[count++] = static_cast<char>('0' + number % 10);
  while ((number /= 10) > 0);
  for (std::size_t i = 0; i < count; ++i) to[i] = digits[count - 1 - i];
  return count;
}

bool call_lasts_too_long() {
  const std::uint32_t seen = num_steps.load(std::memory_order_relaxed);
  const bool same_call = seen % 2 == 1 && seen == last_seen;
  last_seen = seen;
  num_looks = same_call ? num_looks + 1 : 0;
  return num_looks >= looks_per_limit;
}

void look(int /*signal*/) {
  // Only calls that a handler may make: the main thread stands somewhere inside MPI.
  if (watches_calls && !call_lasts_too_long()) return;
  char text[sizeof message + sizeof message_end + 12];
  std::size_t length = 0;
  const auto append = [&](const char* part, std::size_t part_length) {
    for (std::size_t i = 0; i < part_length; ++i) text[length++] = part[i];
  };
  append(message, message_length);
  if (watches_calls) {
    length += write_number(waits_for.load(std::memory_order_relaxed), text + length);
    append(message_end, message_end_length);
  }
  say(text, length);
  ::_exit(static_cast<int>(ExitCode::watchdog));
}

}  // namespace

CallThatWaits::CallThatWaits(RankId for_rank) {
  waits_for.store(for_rank.value, std::memory_order_relaxed);
  step();
}

CallThatWaits::~CallThatWaits() { step(); }

MeetingDeadline::MeetingDeadline() {
  struct sigaction action {};
  action.sa_handler = look;
  action.sa_flags = SA_RESTART;  // what a rank reads or writes when the timer looks goes on
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
  if (limit_s_ > 0) set_timer(limit_s_, 0);
}

void MeetingDeadline::watch_calls(double limit_s, RankId rank, const std::string& role) {
  pause();
  if (limit_s <= 0) return;
  message_length = static_cast<std::size_t>(std::snprintf(
      message, sizeof message, "moebius: the job stands still (rank %d, %.20s, has waited inside of MPI for %.1f s and more) see whom it waits for: rank ",
      rank.value, role.c_str(), limit_s));
  message_end_length = static_cast<std::size_t>(
      std::snprintf(message_end, sizeof message_end, " hangs, is stopped, or computes for longer than run.watchdog_s\n"));
  num_looks = 0;
  watches_calls = true;
  const double period_s = limit_s / looks_per_limit;
  set_timer(period_s, period_s);
}

void MeetingDeadline::pause() {
  limit_s_ = 0;
  set_timer(0, 0);
  watches_calls = false;
}

void MeetingDeadline::set_timer(double seconds, double period_s) {
  const auto time_of = [](double time_s) {
    const double whole = std::floor(time_s);
    return timespec{.tv_sec = static_cast<time_t>(whole), .tv_nsec = static_cast<long>((time_s - whole) * 1e9)};
  };
  const itimerspec at{.it_interval = time_of(period_s), .it_value = time_of(seconds)};
  ::timer_settime(timer_, 0, &at, nullptr);
}

}  // namespace moebius::comm
