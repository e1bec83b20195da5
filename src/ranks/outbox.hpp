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
  /// Move waiting messages into free slots; returns how many moved.
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
  void deliver_own(const comm::MessageHeader& header, std::size_t bytes,
                   const std::function<void(std::span<std::byte>)>& encode);

  comm::Transport& transport_;
  comm::MessageHandler own_handler_;  // empty: no own messages
  std::vector<std::byte> own_message_;
  bool delivering_own_ = false;
  std::vector<std::deque<Waiting>> waiting_;  // [num_ranks]
  std::int64_t num_waiting_ = 0;
};

}  // namespace moebius::ranks
