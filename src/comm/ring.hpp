// SPDX-License-Identifier: Apache-2.0
#pragma once
// One bounded ring from one producer to one consumer: the whole protocol of PROTOCOL.md, free of MPI.
// The two sides are templates over a small *memory port* that knows how bytes travel, so the same code
// runs over MPI Puts, shared memory, one process, and the simulated memory of the tests.
//
// Why nothing is lost, doubled or reordered: message n (from 0) lives in slot n % num_slots under
// sequence n + 1, a 64-bit number never used again. The producer writes it only after the consumer gave
// slot n - num_slots back; the consumer reads it only when the slot shows exactly n + 1; and the flush
// between payload and sequence makes a seen sequence imply a seen payload.
//
// A producer's port has                           a consumer's port has
//   std::byte* slot(i)      where to write slot i    const std::byte* slot(i)   where slot i arrived
//   put_slot(i, first, n)   send bytes of slot i     read_sequence(i)           with acquire order
//   put_sequence(i, seq)    send the first word      put_credit(n)              after all reads of slots
//   flush()                 complete what was put    flush()
//   read_credit()           with acquire order       visibility()
//   visibility()

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <optional>
#include <span>

#include "base/check.hpp"
#include "base/hash.hpp"
#include "comm/transport.hpp"

namespace moebius::comm {

enum class Checksum : std::uint8_t { off, on };
/// On in debug builds.
Checksum default_checksum();

/// What every ring of a run looks like.
struct RingOptions {
  std::size_t slot_bytes = 64 * 1024;  ///< largest payload; a multiple of 64
  int num_slots = 8;
  Checksum checksum = default_checksum();
};

/// The first cache line of a slot. The sequence comes first because it is sent alone and last.
struct SlotHeader {
  std::uint64_t sequence = 0;
  std::uint64_t checksum = 0;  ///< of this header with checksum 0, and the payload; 0 when switched off
  std::uint64_t payload_bytes = 0;
  MessageHeader message;
  std::uint64_t unused = 0;
};
static_assert(sizeof(SlotHeader) == 64);
inline constexpr std::size_t sequence_bytes = sizeof(std::uint64_t);

inline std::size_t slot_stride_bytes(const RingOptions& options) { return sizeof(SlotHeader) + options.slot_bytes; }
inline std::size_t ring_bytes(const RingOptions& options) {
  return slot_stride_bytes(options) * static_cast<std::size_t>(options.num_slots);
}

/// When a written word is seen by the other side.
enum class Visibility : std::uint8_t {
  at_once,         ///< ordered stores: nothing to flush, a message is published by its commit
  after_flush,     ///< Puts: any order until flushed
};

/// The ordering step between data and the word that announces it. A template parameter only so that
/// the tests can leave it out and see the simulated memory catch the mutation.
struct FlushFence {
  template <class Memory>
  static void apply(Memory& memory) {
    memory.flush();
  }
};

inline std::uint64_t slot_checksum(SlotHeader header, std::span<const std::byte> payload) {
  header.checksum = 0;
  return xxh3_64(payload, xxh3_64(std::as_bytes(std::span(&header, 1))));
}

/// The writing end. Not thread-safe: one thread of the producing rank.
template <class Memory, class Fence = FlushFence>
class RingProducer {
 public:
  RingProducer(Memory memory, const RingOptions& options)
      : memory_(std::move(memory)), options_(options), num_slots_(static_cast<std::uint64_t>(options.num_slots)) {
    MOEBIUS_EXPECT(options.num_slots >= 1);
    MOEBIUS_EXPECT(options.slot_bytes >= 64 && options.slot_bytes % 64 == 0);
  }

  /// Room for a payload of at most `bytes` in the next slot; empty when all slots are in use. A request for
  /// nothing still gives one byte, so that an empty message differs from a full ring.
  std::span<std::byte> try_reserve(std::size_t bytes) {
    MOEBIUS_EXPECT(bytes <= options_.slot_bytes);
    const std::uint64_t next = committed_ + reserved_bytes_.size();
    if (next - credit_ >= num_slots_ && !refresh_credit(next)) return {};
    reserved_bytes_.push_back(bytes);
    return {memory_.slot(next % num_slots_) + sizeof(SlotHeader), std::max<std::size_t>(bytes, 1)};
  }

  /// Seal the oldest reserved slot. Over Puts its bytes set out now and its sequence at publish.
  void commit(const MessageHeader& message, std::size_t bytes) {
    MOEBIUS_EXPECT(!reserved_bytes_.empty() && bytes <= reserved_bytes_.front());
    reserved_bytes_.pop_front();
    const std::uint64_t slot_idx = committed_ % num_slots_;
    std::byte* slot = memory_.slot(slot_idx);
    SlotHeader header{.sequence = committed_ + 1, .payload_bytes = bytes, .message = message};
    if (options_.checksum == Checksum::on) {
      header.checksum = slot_checksum(header, {slot + sizeof(SlotHeader), bytes});
    }
    // All but the sequence: in shared memory the consumer is already watching that word.
    std::memcpy(slot + sequence_bytes, reinterpret_cast<const std::byte*>(&header) + sequence_bytes,
                sizeof(SlotHeader) - sequence_bytes);
    memory_.put_slot(slot_idx, sequence_bytes, sizeof(SlotHeader) - sequence_bytes + bytes);
    ++committed_;
    if (memory_.visibility() == Visibility::at_once) put_sequences();
  }

  [[nodiscard]] bool has_unpublished() const { return published_ != committed_; }

  /// First half of publishing: complete the payloads, then send the sequences. One flush serves all
  /// slots committed since the last time.
  void begin_publish() {
    Fence::apply(memory_);
    put_sequences();
  }
  /// Second half: complete the sequences. Apart, so that an endpoint overlaps its targets.
  void finish_publish() { memory_.flush(); }

 private:
  void put_sequences() {
    for (; published_ != committed_; ++published_) memory_.put_sequence(published_ % num_slots_, published_ + 1);
  }

  /// Is there credit for message `next` now?
  bool refresh_credit(std::uint64_t next) {
    const std::uint64_t credit = memory_.read_credit();
    // Credits only grow, and nobody can give back what was not sent.
    MOEBIUS_ENSURE(credit >= credit_ && credit <= committed_);
    credit_ = credit;
    return next - credit_ < num_slots_;
  }

  Memory memory_;
  RingOptions options_;
  std::uint64_t num_slots_;
  std::uint64_t committed_ = 0;  ///< messages sealed
  std::uint64_t published_ = 0;  ///< messages whose sequence was sent
  std::uint64_t credit_ = 0;     ///< messages the consumer is known to be done with
  std::deque<std::size_t> reserved_bytes_;  ///< of the slots that wait for their commit, in order
};

/// A message in its slot; valid until pop.
struct ArrivedMessage {
  MessageHeader header;
  std::span<const std::byte> payload;
};

/// The reading end. Not thread-safe: one thread of the consuming rank.
template <class Memory, class Fence = FlushFence>
class RingConsumer {
 public:
  RingConsumer(Memory memory, const RingOptions& options)
      : memory_(std::move(memory)), options_(options), num_slots_(static_cast<std::uint64_t>(options.num_slots)) {}

  /// The next message in order, if it is here.
  std::optional<ArrivedMessage> front() {
    const std::uint64_t slot_idx = tail_ % num_slots_;
    const std::uint64_t expected = tail_ + 1;
    const std::uint64_t found = memory_.read_sequence(slot_idx);
    if (found != expected) {
      // Nothing else may stand here than what the last lap left behind.
      MOEBIUS_ENSURE(found == (expected > num_slots_ ? expected - num_slots_ : 0));
      return std::nullopt;
    }
    const std::byte* slot = memory_.slot(slot_idx);
    SlotHeader header;
    std::memcpy(&header, slot, sizeof(SlotHeader));
    header.sequence = found;
    MOEBIUS_ENSURE(header.payload_bytes <= options_.slot_bytes);
    const std::span payload(slot + sizeof(SlotHeader), header.payload_bytes);
    if (options_.checksum == Checksum::on) MOEBIUS_ENSURE(slot_checksum(header, payload) == header.checksum);
    return ArrivedMessage{header.message, payload};
  }

  /// Done with front(). In shared memory its slot is given back at once, since that costs one store;
  /// over Puts it is owed, and given back in batches so that the producer never runs dry for long.
  void pop() {
    ++tail_;
    const bool at_once = memory_.visibility() == Visibility::at_once;
    // A quarter of the ring: small enough that the producer keeps running, one Put for several slots.
    if (at_once || tail_ - returned_ >= std::max<std::uint64_t>(1, num_slots_ / 4)) return_credit();
  }

  /// Send what is owed. An earlier credit still under way is completed first: MPI orders no two Puts,
  /// and an old credit that overtook a new one would be lost credit.
  void return_credit() {
    if (returned_ == tail_) return;
    complete_credit();
    memory_.put_credit(tail_);
    returned_ = tail_;
    in_flight_ = memory_.visibility() == Visibility::after_flush;
  }

  /// Make the last credit visible.
  void complete_credit() {
    if (!in_flight_) return;
    Fence::apply(memory_);
    in_flight_ = false;
  }

 private:
  Memory memory_;
  RingOptions options_;
  std::uint64_t num_slots_;
  std::uint64_t tail_ = 0;      ///< messages read
  std::uint64_t returned_ = 0;  ///< messages whose slots were given back
  bool in_flight_ = false;      ///< a credit was put and not flushed
};

}  // namespace moebius::comm
