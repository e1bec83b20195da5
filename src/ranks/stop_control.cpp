// SPDX-License-Identifier: Apache-2.0
#include "ranks/stop_control.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

#include "base/clock.hpp"
#include "base/failure.hpp"
#include "ranks/stop_signals.hpp"
#include "ranks/time_left.hpp"

namespace moebius::ranks {
namespace {

/// How often a rank asks rank 0's words whether others were told: a signal may be a second late, and ten thousand
/// ranks may ask.
constexpr double read_period_s = 0.5;

}  // namespace

StopLimits agree_on_stop_limits(comm::Session& session, const Job& job) {
  watch_stop_signals();
  double left_s = std::numeric_limits<double>::infinity();
  if (session.rank() == RankId(0)) {
    if (job.run.walltime_s > 0) left_s = job.run.walltime_s;
    left_s = std::min(left_s, slurm_time_left_s().value_or(left_s));
  }
  std::vector<std::byte> bytes(sizeof left_s);
  std::memcpy(bytes.data(), &left_s, sizeof left_s);
  session.broadcast(bytes);
  std::memcpy(&left_s, bytes.data(), sizeof left_s);
  return {.end_s = now_s() + left_s, .margin_s = stop_margin_s(left_s), .grace_s = job.run.grace_s};
}

StopControl::Step StopControl::look(double now) {
  exchange(now);
  if (!dropped_ && plan_.must_drop(now)) {
    committed_ = dropped_ = true;
    return Step::drop;
  }
  if (!committed_ && plan_.was_told()) {
    committed_ = true;
    return Step::commit;
  }
  return Step::none;
}

void StopControl::exchange(double now) {
  using comm::Counter;
  const int signals = num_stop_signals();
  for (; signals_told_ < signals; ++signals_told_) board_.fetch_add(signals_told_ == 0 ? Counter::stop : Counter::stop_at_once, 1);
  plan_.hear(signals, now);
  if (now < next_read_s_) return;
  next_read_s_ = now + read_period_s;
  plan_.hear(board_.read(Counter::stop_at_once) > 0 ? 2 : board_.read(Counter::stop) > 0 ? 1 : 0, now);
  if (max_errors_ >= 0 && board_.read(Counter::rows_failed) + board_.read(Counter::rows_failed_before) > max_errors_) plan_.hear(2, now);
}

void StopControl::check_before_loop() {
  const double now = now_s();
  exchange(now);
  if (!plan_.was_told() && !plan_.must_drop(now)) return;
  throw Failure{ExitCode::stopped_early, std::string("stopped before the end (") +
                                             (plan_.was_told() ? "a signal came" : "the walltime is near") +
                                             " while the job was loaded; nothing was computed) run the job again to go on"};
}

bool StopControl::may_claim() {
  const double now = now_s();
  plan_.hear(num_stop_signals(), now);
  return plan_.may_claim(now);
}

void StopControl::claimed(std::int64_t input_line) { claimed_at_[input_line] = now_s(); }

void StopControl::emitted(std::int64_t input_line) {
  const auto found = claimed_at_.find(input_line);
  if (found == claimed_at_.end()) return;
  plan_.request_took(now_s() - found->second);
  claimed_at_.erase(found);
}

}  // namespace moebius::ranks
