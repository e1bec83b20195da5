// SPDX-License-Identifier: Apache-2.0
#include "ranks/heartbeat.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "base/clock.hpp"

namespace moebius::ranks {
namespace {

/// Often enough for a watchdog and a display, seldom enough that its round trips do not count.
constexpr double publish_period_s = 0.1;
/// How often a rank with nothing to do looks whether anybody else moves.
constexpr double check_period_s = 1.0;
/// How often a rank that is done asks whether all are.
constexpr double finish_poll_period_s = 0.002;
/// The display does not wait longer than this for ranks that are deep in a computation.
constexpr double display_patience_s = 0.1;

}  // namespace

Heartbeat::Heartbeat(const Parts& parts) : parts_(parts) {}

void Heartbeat::count_rows(const std::vector<Row>& rows) {
  ++new_requests_;
  if (!rows.empty()) new_tokens_ += rows.front().num_prompt_tokens;  // computed once for all rows
  for (const Row& row : rows) {
    if (!succeeded(row.status)) ++new_failed_;
    new_tokens_ += row.num_output_tokens;
  }
}

void Heartbeat::beat(const LoopStatus& status) {
  const double now = now_s();
  last_ = status;
  parts_.recordings.look(now);
  if (now < next_publish_s_) return;
  publish(status, now);
  parts_.on_publish(now);
  next_publish_s_ = now + publish_period_s;
  if (parts_.display != nullptr && parts_.display->due(now)) parts_.display->show(numbers(), now);
  check_for_stall(status, now);
}

void Heartbeat::publish(const LoopStatus& status, double now) {
  parts_.board.publish_state(static_cast<std::uint16_t>(status.phase), status.waits_for,
                             status.phase == Phase::idle || status.phase == Phase::dispatch_wait ? status.last_work_s : now);
  parts_.board.publish_load(status.queued_rows, status.expert_rows);
  using comm::Counter;
  if (new_requests_ > 0) parts_.board.fetch_add(Counter::rows_done, std::exchange(new_requests_, 0));
  if (new_failed_ > 0) parts_.board.fetch_add(Counter::rows_failed, std::exchange(new_failed_, 0));
  if (new_tokens_ > 0) parts_.board.fetch_add(Counter::tokens_done, std::exchange(new_tokens_, 0));
}

ProgressNumbers Heartbeat::numbers() {
  using comm::Counter;
  ProgressNumbers numbers{.requests_done = parts_.board.read(Counter::rows_done),
                          .num_requests = parts_.num_requests,
                          .rows_failed = parts_.board.read(Counter::rows_failed),
                          .tokens = parts_.board.read(Counter::tokens_done),
                          .dilation = parts_.dilation};
  std::int64_t busiest = 0, all = 0;
  for (const comm::RankState& state : parts_.board.read_states(display_patience_s)) {
    numbers.queued_rows += state.queued_rows;
    busiest = std::max(busiest, state.expert_rows);
    all += state.expert_rows;
  }
  if (all > 0) numbers.imbalance = static_cast<double>(busiest * parts_.num_expert_ranks) / static_cast<double>(all);
  return numbers;
}

void Heartbeat::check_for_stall(const LoopStatus& status, double now) {
  if (now - status.last_work_s < parts_.watchdog_s || now < next_check_s_) return;
  next_check_s_ = now + check_period_s;
  const auto states = parts_.board.read_states();
  const bool somebody_moves = std::any_of(states.begin(), states.end(), [&](const comm::RankState& state) {
    return state.answered && state.since_ago_s < parts_.watchdog_s && state.published_ago_s < parts_.watchdog_s;
  });
  if (!somebody_moves) end_stalled_job(states, now);
}

void Heartbeat::end_stalled_job(const std::vector<comm::RankState>& states, double now) {
  std::string text = fmt::format("moebius: the job stands still (no rank has moved for {:.0f} s) see who waits for whom:\n"
                                 "  rank  role       phase            waits for      since  last heard of\n",
                                 parts_.watchdog_s);
  for (const comm::RankState& state : states) {
    const char* role = to_string(parts_.roles[state.rank.idx()]);
    if (!state.answered) {
      text += fmt::format("  {:>4}  {:<9}  does not answer\n", state.rank.value, role);
      continue;
    }
    text += fmt::format("  {:>4}  {:<9}  {:<15}  {:>9}  {:>7.1f} s  {:.1f} s ago\n", state.rank.value, role, to_string(static_cast<Phase>(state.phase)),
                        state.waits_for.valid() ? fmt::format("rank {}", state.waits_for.value) : "rows", state.since_ago_s,
                        state.published_ago_s);
  }
  text += fmt::format("reported by rank {} at {:.1f} s of its clock\n", parts_.session.rank().value, now);
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
  comm::Session::abort(ExitCode::watchdog);
}

void Heartbeat::wait_for_all(comm::Transport& transport, PhaseClock& clock) {
  LoopStatus status = last_;
  status.phase = Phase::idle;
  status.waits_for = {};
  status.last_work_s = now_s();
  publish(status, now_s());
  parts_.board.fetch_add(comm::Counter::ranks_finished, 1);
  double next_poll_s = 0;
  while (true) {
    transport.flush();
    transport.progress();
    const double now = now_s();
    if (now >= next_poll_s) {
      if (parts_.board.read(comm::Counter::ranks_finished) >= parts_.session.num_ranks()) break;
      next_poll_s = now + finish_poll_period_s;
    }
    beat(status);
    if (parts_.waiting == Waiting::asleep) sleep_until_s(now + finish_poll_period_s);
    else std::this_thread::yield();
    clock.mark(Phase::idle);
  }
  if (parts_.display != nullptr) parts_.display->finish(numbers(), now_s());
}

}  // namespace moebius::ranks
