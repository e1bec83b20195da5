// SPDX-License-Identifier: Apache-2.0
#include "ranks/event_loop.hpp"

#include <algorithm>
#include <limits>

#include "base/check.hpp"
#include "base/clock.hpp"

namespace moebius::ranks {
namespace {

/// Messages taken from the rings before the rank computes again: enough to fill its micro-queues,
/// few enough that a flood of messages does not keep it from computing.
constexpr std::size_t max_messages_per_turn = 64;

}  // namespace

EventLoop::EventLoop(const Parts& parts, Beat beat)
    : parts_(parts),
      beat_(std::move(beat)),
      handler_([this](RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload) {
        deliver(from, header, payload);
      }) {
  status_.last_work_s = now_s();
  parts_.pace.start();
  parts_.pace.while_waiting([this] { parts_.transport.progress(); });
  if (parts_.attention != nullptr && parts_.experts != nullptr) parts_.outbox.deliver_own_to(handler_);
}

void EventLoop::run() {
  parts_.pace.start();
  while (!finished()) {
    turn();
    if (status_.phase != Phase::idle && status_.phase != Phase::dispatch_wait) continue;
    parts_.pace.rest();
    parts_.clock.mark(status_.phase);  // where ranks share a core others worked meanwhile: no work of this one
  }
}

void EventLoop::turn() {
  const double now = now_s();
  if (work(now) == Outcome::worked) {
    status_.last_work_s = now;
    status_.phase = Phase::attention;
    status_.waits_for = {};
    waiting_ = false;
  } else {
    status_.waits_for = parts_.outbox.blocked_on();
    status_.phase = status_.waits_for.valid() ? Phase::dispatch_wait : Phase::idle;
    if (!waiting_) waiting_since_s_ = parts_.clock.last_mark_s();
    waiting_ = true;
    parts_.clock.mark(status_.phase);
  }
  status_.queued_rows = parts_.table.total_rows();
  if (parts_.experts != nullptr) status_.expert_rows = parts_.experts->counters().rows_computed;
  beat_(status_);
}

EventLoop::Outcome EventLoop::work(double now) {
  now_ = now;
  bool worked = false;
  const std::int64_t bytes_before = bytes_delivered_;
  first_sent_s_ = std::numeric_limits<double>::infinity();
  const std::size_t drained = parts_.transport.drain(handler_, max_messages_per_turn);
  const bool heard = drained > 0;
  if (heard) {
    worked = true;
    note_arrivals(now);
    parts_.clock.mark(Phase::dispatch, static_cast<std::int64_t>(drained), bytes_delivered_ - bytes_before);
  }
  if (admit(now)) worked = true;
  if (parts_.outbox.pump() > 0) worked = true;
  if (parts_.live != nullptr && parts_.live->is_due(now)) move_experts(now);
  if (run_stage(now, heard)) worked = true;
  if (!fin_sent_ && parts_.attention != nullptr && parts_.attention->finished()) send_fin();
  parts_.transport.flush();
  parts_.transport.progress();
  if (parts_.live != nullptr && finished()) parts_.live->leave();
  return worked ? Outcome::worked : Outcome::idle;
}

void EventLoop::move_experts(double now) {
  const std::int64_t staged_before = parts_.live->counters().bytes_staged;
  parts_.clock.mark(waiting_ ? status_.phase : Phase::dispatch);
  parts_.live->turn(now);
  parts_.clock.mark(Phase::rebalance, 0, parts_.live->counters().bytes_staged - staged_before);
}

bool EventLoop::admit(double now) {
  if (parts_.pipeline != nullptr) return parts_.pipeline->admit(now, parts_.clock);
  return parts_.attention != nullptr && parts_.attention->admit(now, parts_.clock);
}

bool EventLoop::run_stage(double now, bool heard) {
  // What is to run is chosen at this time. Where no message woke this rank up, it was only waiting for that.
  const auto choose = [&] {
    if (parts_.pace.out_of_work() && !heard) {
      parts_.pace.reach(now);
      parts_.clock.mark(Phase::idle);
    }
    parts_.pace.choose();
  };
  bool runs = false;
  if (parts_.pipeline != nullptr) {
    runs = parts_.pipeline->ready();
    if (runs) {
      choose();
      parts_.pipeline->run(now, parts_.clock);
    }
  } else {
    if (parts_.attention != nullptr) parts_.attention->show_held(now, attention_patience_s());
    if (parts_.experts != nullptr && parts_.group_expert_calls) parts_.experts->show_held(now, expert_patience_s());
    const auto pick = parts_.scheduler.pick(parts_.table, now);
    runs = pick.has_value();
    if (runs) {
      choose();
      run_queue(*pick, now);
    }
  }
  parts_.pace.end_turn(runs ? StagePace::Turn::stage : StagePace::Turn::no_stage);
  return runs;
}

double EventLoop::expert_patience_s() const { return parts_.gather_short_batches ? parts_.experts->fixed_pass_s() : 0.0; }

double EventLoop::attention_patience_s() const {
  if (!parts_.gather_short_batches) return 0;
  return 2.0 * (parts_.experts != nullptr ? parts_.experts->fixed_pass_s() : parts_.attention->fixed_stage_s());
}

void EventLoop::run_queue(policy::QueueRef pick, double now) {
  const int layer = parts_.stages.layer_of(pick.stage);
  if (parts_.stages.is_expert_stage(pick.stage)) {
    if (parts_.group_expert_calls) parts_.experts->run_layer(layer, parts_.clock);
    else parts_.experts->run(layer, PlaceId(pick.queue), parts_.clock);
  } else {
    parts_.attention->run(layer, now, parts_.clock);
  }
}

void EventLoop::note_arrivals(double now) {
  if (parts_.pace.slow()) {
    // The time of this rank has moved on to the message.
    if (parts_.pace.out_of_work()) parts_.clock.mark(waiting_ ? status_.phase : Phase::idle);
    return;
  }
  if (waiting_) parts_.arrivals.ended_waiting(waiting_since_s_, first_sent_s_, now);
}

void EventLoop::deliver(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload) {
  if (!parts_.pace.slow() && from != parts_.transport.rank()) {
    first_sent_s_ = std::min(first_sent_s_, header.sent_s);
    if (parts_.arrivals.recording()) parts_.arrivals.came(from, header, payload.size(), {.begin_s = header.sent_s, .end_s = now_s()});
  }
  bytes_delivered_ += static_cast<std::int64_t>(payload.size());
  switch (kind_of(header)) {
    case BlockKind::dispatch:
      MOEBIUS_EXPECT(parts_.experts != nullptr);
      parts_.experts->on_dispatch(from, header, payload, now_);
      if (parts_.pipeline != nullptr) parts_.pipeline->on_dispatch(from, header, payload);
      return;
    case BlockKind::dispatch_in_place:
      MOEBIUS_EXPECT(parts_.experts != nullptr);
      parts_.experts->on_dispatch_in_place(from, header, payload, now_);
      if (parts_.pipeline != nullptr) parts_.pipeline->on_dispatch(from, header, payload);
      return;
    case BlockKind::fin:
      MOEBIUS_EXPECT(parts_.experts != nullptr);
      return parts_.experts->on_fin(from);
    case BlockKind::expert_outputs:
      MOEBIUS_EXPECT(parts_.attention != nullptr);
      return parts_.attention->on_outputs(header, payload, now_);
    case BlockKind::expert_outputs_in_place:
      MOEBIUS_EXPECT(parts_.attention != nullptr);
      return parts_.attention->on_outputs_in_place(header, payload, now_);
  }
  MOEBIUS_EXPECT(!"a message of unknown kind arrived");
}

void EventLoop::send_fin() {
  // Nothing is in flight, so every block this rank sent has been answered; rings keep their order, so
  // FIN is the last message of this source everywhere.
  for (const RankId rank : parts_.expert_ranks) {
    parts_.outbox.send(rank, {.kind = static_cast<std::uint16_t>(BlockKind::fin)}, 0, [](std::span<std::byte>) {});
  }
  fin_sent_ = true;
}

bool EventLoop::finished() const {
  if (!parts_.outbox.empty()) return false;
  if (parts_.attention != nullptr && !fin_sent_) return false;
  return parts_.experts == nullptr || parts_.experts->finished();
}

}  // namespace moebius::ranks
