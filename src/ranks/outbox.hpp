// SPDX-License-Identifier: Apache-2.0
#pragma once
// Messages that have left the event loop but may not have left the rank. A message goes straight into
// a ring slot when there is credit; otherwise it is kept here, in order, until there is. So nothing is
// dropped, a full ring never blocks the loop, and order per destination is that of the calls.
// What waits here is bounded by the token budget of the attention ranks.
//
// A message of a colocated rank to itself needs no ring: it is written into one reused buffer, which
// stays in the cache, and handed over before send() returns. So a rank's own rows never wait for credit.

#include <deque>
#include <functional>
#include <span>
#include <vector>

#include "comm/transport.hpp"

namespace moebius::ranks {

class Outbox {
 public:
  explicit Outbox(comm::Transport& transport);

  /// Who takes the messages to the own rank; it must not send. Without one they go through the transport.
  void deliver_own_to(comm::MessageHandler handler);

  /// Send `bytes` bytes that `encode` writes; `encode` is called exactly once, now.
  void send(RankId to, const comm::MessageHeader& header, std::size_t bytes,
            const std::function<void(std::span<std::byte>)>& encode);
  /// The same in two steps, for what is computed where it is sent from: room for `bytes` bytes to another
  /// rank, good until its seal. Several may be open; seal() ends the oldest one of its destination.
  std::span<std::byte> open(RankId to, std::size_t bytes);
  void seal(RankId to, const comm::MessageHeader& header);
  /// Move waiting messages into free slots; returns how many moved. No room is open.
  std::size_t pump();
  [[nodiscard]] bool empty() const { return num_waiting_ == 0; }
  [[nodiscard]] std::int64_t num_waiting() const { return num_waiting_; }
  /// A destination that messages wait for, invalid when nothing waits: for the watchdog's table.
  [[nodiscard]] RankId blocked_on() const;

 private:
  struct Waiting {
    comm::MessageHeader header;
    std::vector<std::byte> payload;
  };
  struct Destination {
    std::deque<Waiting> waiting;          // for credit; the last ones of them may still be open
    std::deque<std::size_t> open_slots;   // bytes of the rooms that are ring slots, oldest first
    std::size_t num_open_waiting = 0;
  };
  /// Now.
  void commit(RankId to, comm::MessageHeader header, std::size_t bytes);
  void deliver_own(const comm::MessageHeader& header, std::size_t bytes,
                   const std::function<void(std::span<std::byte>)>& encode);

  comm::Transport& transport_;
  comm::MessageHandler own_handler_;  // empty: no own messages
  std::vector<std::byte> own_message_;
  bool delivering_own_ = false;
  std::vector<Destination> to_;  // [num_ranks]
  std::int64_t num_waiting_ = 0;
};

}  // namespace moebius::ranks
