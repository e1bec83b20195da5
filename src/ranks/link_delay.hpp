// SPDX-License-Identifier: Apache-2.0
#pragma once
// Links of slow motion: a message is handed over no sooner than the link model lets it arrive.
//
// DelayedTransport lies over the transport of a rank. The sender puts the time at which the message begins to leave, on its
// out link, and what it takes on the link in front of the payload; the receiver keeps what has physically arrived and hands
// over, in the order of those times, what its in link has let through. Messages of one source leave at rising times, so they
// keep their order; nothing is dropped; what is kept is bounded by the token budgets, as in Outbox. Sizes are those of the
// emulated model, of rows that stay in place too.
//
// ExchangeDelay does the same for the exchanges of lock-step, where all ranks tell each other their times.

#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "comm/all_to_all.hpp"
#include "comm/transport.hpp"
#include "policy/device_model.hpp"
#include "policy/link_model.hpp"
#include "ranks/arrivals.hpp"
#include "ranks/stage_pace.hpp"

namespace moebius::ranks {

/// Bytes that a message of this rank takes on the emulated link.
using MessageBytes = std::function<double(const comm::MessageHeader& header, std::span<const std::byte> payload)>;
/// Of the blocks of wire.hpp.
MessageBytes block_bytes(const policy::StageTimes& times);

class DelayedTransport final : public comm::Transport {
 public:
  /// In front of each payload: a multiple of the alignment that payloads have.
  static constexpr std::size_t stamp_bytes = 64;

  DelayedTransport(comm::Transport& transport, StagePace& pace, Arrivals& arrivals, policy::Link link, double dilation, MessageBytes bytes_of);

  [[nodiscard]] RankId rank() const override { return transport_.rank(); }
  [[nodiscard]] int num_ranks() const override { return transport_.num_ranks(); }
  [[nodiscard]] std::size_t max_payload_bytes() const override { return transport_.max_payload_bytes() - stamp_bytes; }
  std::span<std::byte> try_reserve(RankId to, std::size_t bytes) override;
  void commit(RankId to, const comm::MessageHeader& header, std::size_t bytes) override;
  void flush() override { transport_.flush(); }
  std::size_t drain(const comm::MessageHandler& handler, std::size_t max_messages) override;
  void progress() override { transport_.progress(); }
  [[nodiscard]] const comm::TransportCounters& counters() const override { return transport_.counters(); }

 private:
  struct Stamp {
    double begin_s, message_s;
  };
  struct Message {
    RankId from;
    comm::MessageHeader header;
    double message_s;
    std::vector<std::byte> payload;
  };
  void keep_arrived();
  /// Of the first of them.
  [[nodiscard]] double arrival_s() const;
  void hand_over_first(const comm::MessageHandler& handler);

  comm::Transport& transport_;
  StagePace& pace_;
  Arrivals& arrivals_;
  policy::Link link_;
  double dilation_;
  MessageBytes bytes_of_;
  policy::LinkEnd out_, in_;
  std::vector<std::deque<std::span<std::byte>>> open_;  // [num_ranks] reservations, stamps included
  std::multimap<double, Message> kept_;                 // by the time at which they began to leave
  comm::MessageHandler keep_;
};

class ExchangeDelay {
 public:
  /// `emulation` outlives this.
  ExchangeDelay(comm::AllToAll& all, std::size_t self, StagePace& pace, Arrivals& arrivals, const policy::Emulation& emulation);
  [[nodiscard]] const policy::StageTimes& times() const { return emulation_.times; }
  /// After a collective of a few bytes (counts, sums): it ends everywhere one latency after the last rank came.
  void few_bytes();
  /// Before an exchange of blocks: waits, without a word to the clock, until all ranks are there. Who waits for ranks sleeps; who slept
  /// while blocks move in many pieces would hold them up.
  void meet() { tell(times_); }
  /// After an exchange of blocks; bytes on the link to and from each rank, 0: none. // [num_ranks]
  void blocks(std::span<const double> to_bytes, std::span<const double> from_bytes);

 private:
  /// Tells all ranks a time each, and hears theirs into begin_.
  void tell(std::span<const double> times);
  [[nodiscard]] double message_s(double bytes) const {
    return bytes > 0 ? emulation_.dilation * emulation_.link.message_s(bytes) : 0.0;
  }

  comm::AllToAll& all_;
  std::size_t self_;
  StagePace& pace_;
  Arrivals& arrivals_;
  const policy::Emulation& emulation_;
  std::vector<double> times_, out_, in_, begin_;       // [num_ranks]
  std::vector<std::int64_t> words_out_, words_in_;     // [num_ranks]
};

}  // namespace moebius::ranks
