// SPDX-License-Identifier: Apache-2.0
#pragma once
// The seam between event loops and the network: bounded, ordered, lossless message rings from every
// rank that writes to every rank that reads. `comm` sees bytes, never tokens.
//
// Contract: messages of one (source, destination) pair arrive once each and in order of commit.
// Nothing here waits: a full ring makes try_reserve return an empty span and the caller keeps the
// message; an empty ring makes drain return 0. drain never needs credit from anybody, so receiving
// never waits for sending (ARCHITECTURE section 3).

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>

#include "base/ids.hpp"

namespace moebius::comm {

/// What a receiver needs to know before it looks into the payload. The transport carries it unread.
struct MessageHeader {
  std::uint16_t kind = 0;        ///< meaning belongs to the caller
  std::uint16_t layer = 0;
  std::uint32_t generation = 0;  ///< of the expert placement the sender used
  std::uint32_t num_rows = 0;
  std::uint32_t num_pairs = 0;
  std::int32_t micro_batch = -1, part = -1;  ///< of a pipeline, that the message belongs to; -1: none
  double sent_s = 0;                         ///< when it was handed over, by the sender's now_s()
  bool operator==(const MessageHeader&) const = default;
};

/// Called once per arrived message; the payload is valid only during the call.
using MessageHandler =
    std::function<void(RankId from, const MessageHeader& header, std::span<const std::byte> payload)>;

struct TransportCounters {
  std::int64_t messages_sent = 0, bytes_sent = 0;          ///< payload bytes
  std::int64_t messages_received = 0, bytes_received = 0;
  std::int64_t reserve_refused = 0;                        ///< try_reserve found the ring full
};

/// One endpoint, used by one thread. Implementations: LoopbackTransport (ranks inside one process),
/// SimulatedTransport (adversarial memory order, for tests), RingTransport (MPI windows).
class Transport {
 public:
  virtual ~Transport() = default;
  [[nodiscard]] virtual RankId rank() const = 0;
  [[nodiscard]] virtual int num_ranks() const = 0;
  /// Largest payload of one message, the same on all ranks; a multiple of 64.
  [[nodiscard]] virtual std::size_t max_payload_bytes() const = 0;

  /// Space for a payload of at most `bytes` to `to`, aligned to 64; empty when the ring is full.
  /// Several reservations may be open at once, also to one destination; each is ended by commit.
  virtual std::span<std::byte> try_reserve(RankId to, std::size_t bytes) = 0;
  /// Hand over the first `bytes` of the oldest open reservation to `to`. They may become visible at once, at
  /// the latest by flush.
  virtual void commit(RankId to, const MessageHeader& header, std::size_t bytes) = 0;
  /// Make all committed messages visible to their receivers.
  virtual void flush() = 0;
  /// Deliver what has arrived, at most `max_messages`, fair over sources; returns how many.
  virtual std::size_t drain(const MessageHandler& handler, std::size_t max_messages) = 0;
  /// Let the MPI library work (MPI_Iprobe); to be called in every turn of a loop, also an idle one.
  virtual void progress() = 0;
  [[nodiscard]] virtual const TransportCounters& counters() const = 0;
};

}  // namespace moebius::comm
