// SPDX-License-Identifier: Apache-2.0
#include "ranks/link_delay.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "ranks/wire.hpp"

namespace moebius::ranks {
namespace {

/// Rows of pairs that stand side by side by row.
std::int64_t distinct_rows(std::span<const std::byte> payload, std::size_t num_pairs) {
  std::int64_t rows = 0;
  RowTag last = 0;
  for (std::size_t i = 0; i < num_pairs; ++i) {
    const RowTag row = load_at<RowPair>(payload, 0, i).tag.row;
    rows += i == 0 || row != last ? 1 : 0;
    last = row;
  }
  return rows;
}

}  // namespace

MessageBytes block_bytes(const policy::StageTimes& times) {
  return [&times](const comm::MessageHeader& header, std::span<const std::byte> payload) {
    switch (kind_of(header)) {
      case BlockKind::dispatch: return times.dispatch_bytes(header.num_rows, header.num_pairs);
      case BlockKind::dispatch_in_place: return times.dispatch_bytes(distinct_rows(payload, header.num_pairs), header.num_pairs);
      case BlockKind::expert_outputs:
      case BlockKind::expert_outputs_in_place: return times.outputs_bytes(header.num_rows);
      default: return 0.0;  // control messages: a latency
    }
  };
}

DelayedTransport::DelayedTransport(comm::Transport& transport, StagePace& pace, Arrivals& arrivals, policy::Link link, double dilation, MessageBytes bytes_of)
    : transport_(transport),
      pace_(pace),
      arrivals_(arrivals),
      link_(std::move(link)),
      dilation_(dilation),
      bytes_of_(std::move(bytes_of)),
      open_(static_cast<std::size_t>(transport.num_ranks())) {
  MOEBIUS_EXPECT(transport.max_payload_bytes() > stamp_bytes);
  keep_ = [this](RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload) {
    Stamp stamp;
    MOEBIUS_EXPECT(payload.size() >= stamp_bytes);
    std::memcpy(&stamp, payload.data(), sizeof(stamp));
    payload = payload.subspan(stamp_bytes);
    pace_.heard(stamp.begin_s + stamp.message_s);
    kept_.emplace(stamp.begin_s, Message{from, header, stamp.message_s, {payload.begin(), payload.end()}});  // equal times: behind
  };
}

std::span<std::byte> DelayedTransport::try_reserve(RankId to, std::size_t bytes) {
  // A request for nothing gives one byte too, so that an empty message differs from a full ring.
  const std::span<std::byte> slot = transport_.try_reserve(to, stamp_bytes + std::max<std::size_t>(bytes, 1));
  if (slot.empty()) return slot;
  open_[to.idx()].push_back(slot);
  return slot.subspan(stamp_bytes);
}

void DelayedTransport::commit(RankId to, const comm::MessageHeader& header, std::size_t bytes) {
  MOEBIUS_EXPECT(!open_[to.idx()].empty());
  const std::span<std::byte> slot = open_[to.idx()].front();
  open_[to.idx()].pop_front();
  const double message_s = dilation_ * link_.message_s(bytes_of_(header, slot.subspan(stamp_bytes, bytes)));
  const Stamp stamp{out_.begin_s(pace_.time_s()), message_s};
  out_.take(stamp.begin_s, message_s);
  std::memcpy(slot.data(), &stamp, sizeof(stamp));
  transport_.commit(to, header, bytes + stamp_bytes);
}

void DelayedTransport::keep_arrived() {
  constexpr std::size_t messages_per_look = 256;
  while (transport_.drain(keep_, messages_per_look) == messages_per_look) {
  }
}

double DelayedTransport::arrival_s() const {
  if (kept_.empty()) return std::numeric_limits<double>::infinity();
  return in_.begin_s(kept_.begin()->first) + kept_.begin()->second.message_s;
}

void DelayedTransport::hand_over_first(const comm::MessageHandler& handler) {
  const auto first = kept_.extract(kept_.begin());
  const Message& message = first.mapped();
  in_.take(in_.begin_s(first.key()), message.message_s);
  arrivals_.came(message.from, message.header, message.payload.size(), {first.key(), in_.free_s(), message.message_s});
  handler(message.from, message.header, message.payload);
}

std::size_t DelayedTransport::drain(const comm::MessageHandler& handler, std::size_t max_messages) {
  keep_arrived();
  // A rank that has nothing else to do goes on with the next message to come, and with that alone: what comes later finds it
  // at work.
  if (const double next_s = arrival_s(); pace_.out_of_work() && next_s <= now_s()) {
    arrivals_.ended_waiting(pace_.time_s(), in_.begin_s(kept_.begin()->first), next_s);
    pace_.reach(next_s);
  }
  std::size_t num_messages = 0;
  while (num_messages < max_messages && arrival_s() <= pace_.time_s()) {
    hand_over_first(handler);
    ++num_messages;
  }
  pace_.expect_message(arrival_s());
  return num_messages;
}

ExchangeDelay::ExchangeDelay(comm::AllToAll& all, std::size_t self, StagePace& pace, Arrivals& arrivals, const policy::Emulation& emulation)
    : all_(all), self_(self), pace_(pace), arrivals_(arrivals), emulation_(emulation) {
  for (auto* numbers : {&times_, &out_, &in_, &begin_}) numbers->resize(static_cast<std::size_t>(all.num_ranks()));
  words_out_.resize(times_.size());
  words_in_.resize(times_.size());
}

void ExchangeDelay::tell(std::span<const double> times) {
  std::ranges::transform(times, words_out_.begin(), [](double time) { return std::bit_cast<std::int64_t>(time); });
  all_.exchange_counts(words_out_, words_in_);
  std::ranges::transform(words_in_, begin_.begin(), [](std::int64_t word) { return std::bit_cast<double>(word); });
}

void ExchangeDelay::few_bytes() {
  std::ranges::fill(times_, pace_.time_s());
  tell(times_);
  const double last_s = std::ranges::max(begin_), end_s = last_s + (begin_.size() > 1 ? emulation_.dilation * emulation_.link.latency_s : 0.0);
  arrivals_.ended_waiting(pace_.time_s(), last_s, end_s);
  pace_.reach(end_s);
  pace_.catch_up();
}

void ExchangeDelay::blocks(std::span<const double> to_bytes, std::span<const double> from_bytes) {
  double sent_s = pace_.time_s();
  for (std::size_t rank = 0; rank < out_.size(); ++rank) {
    out_[rank] = rank == self_ ? 0.0 : message_s(to_bytes[rank]);
    in_[rank] = rank == self_ ? 0.0 : message_s(from_bytes[rank]);
    sent_s += out_[rank];
  }
  tell(policy::departures_s(pace_.time_s(), self_, out_));
  arrivals_.ended_waiting(0, 0, policy::exchange_busy_s(pace_.time_s(), sent_s, begin_, in_));
  pace_.reach(policy::exchange_end_s(pace_.time_s(), sent_s, begin_, in_));
  pace_.catch_up();
}

}  // namespace moebius::ranks
