// SPDX-License-Identifier: Apache-2.0
#include "ranks/stage_pace.hpp"

#include <sys/prctl.h>

#include <algorithm>
#include <limits>
#include <thread>

#include "base/clock.hpp"

namespace moebius::ranks {
namespace {

/// A rank that waits for long still lets MPI progress so often.
constexpr double longest_sleep_s = 2e-3;
/// An idle rank looks for messages so often: in a tenth of what one expert call lasts, within limits. More seldom it would be
/// late, more often sixteen ranks would keep two cores busy with looking.
constexpr double rest_share = 0.1, shortest_rest_s = 50e-6;
/// Who has waited long looks less often, and then begins late by this share of its wait at most, which its next stages make good.
constexpr double rest_share_of_wait = 0.02;
/// Linux wakes a thread up to 50 microseconds late, to save power, unless it is told not to.
constexpr unsigned long timer_slack_ns = 1000;

}  // namespace

StagePace::StagePace(const policy::StageTimes& times, double dilation, double expert_slowdown, ExpertStage expert_stage)
    : times_(&times),
      dilation_(dilation),
      expert_slowdown_(expert_slowdown),
      expert_stage_(expert_stage),
      rest_s_(std::clamp(rest_share * dilation * times.expert_call_s(1), shortest_rest_s, longest_sleep_s)) {
  prctl(PR_SET_TIMERSLACK, timer_slack_ns, 0, 0, 0);  // waking late is no error
}

void StagePace::start() {
  time_s_ = start_s_ = waits_since_s_ = now_s();
  next_message_s_ = std::numeric_limits<double>::infinity();
  out_of_work_ = true;
}

void StagePace::sleep_until(double end_s) {
  for (double now = now_s(); now < end_s; now = now_s()) {
    while_waiting_();
    sleep_until_s(std::min(end_s, now + longest_sleep_s));
  }
  waits_since_s_ = now_s();
}

void StagePace::spend(double device_s) {
  if (device_s == 0) return;
  const double duration_s = device_s * dilation_;
  time_s_ += duration_s;
  ++counters_.stages;
  counters_.modelled_s += duration_s;
  counters_.shortest_s = counters_.stages == 1 ? duration_s : std::min(counters_.shortest_s, duration_s);
  const double late_s = now_s() - time_s_;
  sleep_until(time_s_);
  if (late_s < 0) return;
  ++counters_.late_stages;
  counters_.late_s += late_s;
  counters_.latest_s = std::max(counters_.latest_s, late_s);
}

void StagePace::catch_up() { sleep_until(time_s_); }

double StagePace::expert_call(double begin_s, std::int64_t rows) {
  if (!slow()) {
    const double end_s = begin_s + expert_slowdown_ * (now_s() - begin_s);
    while (expert_slowdown_ > 1 && now_s() < end_s) {
      while_waiting_();
      std::this_thread::yield();
    }
    return now_s() - begin_s;
  }
  if (expert_stage_ == ExpertStage::layer) {
    const double call_s = expert_slowdown_ * times_->expert_s(rows);
    layer_s_ += call_s;
    return dilation_ * call_s;
  }
  spend(expert_slowdown_ * times_->expert_call_s(rows));
  return dilation_ * expert_slowdown_ * times_->expert_call_s(rows);
}

void StagePace::expert_layer() {
  if (layer_s_ == 0) return;
  spend(expert_slowdown_ * times_->expert_overhead_s() + layer_s_);
  layer_s_ = 0;
}

void StagePace::rest() {
  if (!slow()) {
    std::this_thread::yield();
    return;
  }
  const double now = now_s();
  const double rest_s = std::clamp(rest_share_of_wait * (now - waits_since_s_), rest_s_, longest_sleep_s);
  if (next_message_s_ > now) sleep_until_s(std::min(next_message_s_, now + rest_s));
}

}  // namespace moebius::ranks
