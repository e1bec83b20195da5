// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ports of ring.hpp over the run's Window: Puts between nodes, load and store within one. The branch
// is taken at run time because a rank has peers of both kinds. Internal to comm and its tests.
//
// On the Put path the producer fills a staging slot of its own, one for each slot of the ring: a Put's
// origin has to stay unchanged until the flush, and a staging slot is written again only after the
// consumer gave the ring's slot back, which is later than that flush.

#include <cstddef>
#include <cstdint>

#include "comm/aligned_bytes.hpp"
#include "comm/shared_port.hpp"
#include "comm/window.hpp"

namespace moebius::comm {

class WindowProducerMemory {
 public:
  WindowProducerMemory(Window& window, RankId to, const RingPlace& place);

  std::byte* slot(std::uint64_t slot_idx) { return slots_ + slot_idx * stride_bytes_; }
  void put_slot(std::uint64_t slot_idx, std::size_t first, std::size_t bytes) {
    if (path_ == Path::put) put(slot_idx, first, bytes);
  }
  void put_sequence(std::uint64_t slot_idx, std::uint64_t sequence) {
    store_release(reinterpret_cast<std::uint64_t*>(slot(slot_idx)), sequence);
    if (path_ == Path::put) put(slot_idx, 0, sequence_bytes);
  }
  void flush() {
    if (path_ == Path::put) window_->flush(to_);
  }
  std::uint64_t read_credit() {
    if (path_ == Path::put) window_->sync();
    return load_acquire(credit_);
  }
  [[nodiscard]] Visibility visibility() const {
    return path_ == Path::put ? Visibility::after_flush : Visibility::at_once;
  }

 private:
  void put(std::uint64_t slot_idx, std::size_t first, std::size_t bytes) {
    window_->put(to_, ring_offset_ + slot_idx * stride_bytes_ + first, slot(slot_idx) + first, bytes);
  }

  Window* window_;
  RankId to_;
  Path path_;
  std::size_t stride_bytes_;
  std::size_t ring_offset_;
  AlignedBytes staging_;   ///< Put path only
  std::byte* slots_;       // [num_slots, stride_bytes] the ring itself, or the staging slots
  std::uint64_t* credit_;  ///< in this rank's memory, written by the consumer
};

class WindowConsumerMemory {
 public:
  WindowConsumerMemory(Window& window, RankId from, const RingPlace& place);

  const std::byte* slot(std::uint64_t slot_idx) const { return slots_ + slot_idx * stride_bytes_; }
  /// The window was synchronised by whoever polls (once for all its rings).
  std::uint64_t read_sequence(std::uint64_t slot_idx) {
    return load_acquire(reinterpret_cast<std::uint64_t*>(slots_ + slot_idx * stride_bytes_));
  }
  void put_credit(std::uint64_t credit) {
    store_release(credit_, credit);
    if (path_ == Path::put) window_->put(from_, credit_offset_, credit_, sizeof(std::uint64_t));
  }
  void flush() {
    if (path_ == Path::put) window_->flush(from_);
  }
  [[nodiscard]] Visibility visibility() const {
    return path_ == Path::put ? Visibility::after_flush : Visibility::at_once;
  }

 private:
  Window* window_;
  RankId from_;
  Path path_;
  std::size_t stride_bytes_;
  std::size_t credit_offset_;
  AlignedBytes staging_;   ///< Put path only: the origin of the credit's Put
  std::byte* slots_;       // [num_slots, stride_bytes] in this rank's memory
  std::uint64_t* credit_;  ///< the producer's word, or the staged one
};

}  // namespace moebius::comm
