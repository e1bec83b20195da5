// SPDX-License-Identifier: Apache-2.0
#pragma once
// Ports of ring.hpp for memory that both sides address: threads of one process, or processes of one
// node through a shared window. The producer writes straight into the ring, there is nothing to flush,
// and the order that MPI_Win_flush gives elsewhere comes from release stores and acquire loads.
// Internal to comm and its tests.

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "comm/ring.hpp"

namespace moebius::comm {

/// An aligned 64-bit word that another thread or process changes.
inline std::uint64_t load_acquire(std::uint64_t* word) {
  return std::atomic_ref<std::uint64_t>(*word).load(std::memory_order_acquire);
}
inline void store_release(std::uint64_t* word, std::uint64_t value) {
  std::atomic_ref<std::uint64_t>(*word).store(value, std::memory_order_release);
}
// Between processes only a lock-free atomic is an atomic.
static_assert(std::atomic_ref<std::uint64_t>::is_always_lock_free);

class SharedProducerMemory {
 public:
  /// `ring`: ring_bytes(options) zeroed bytes aligned to 64; `credit`: a zeroed word.
  SharedProducerMemory(std::byte* ring, std::size_t stride_bytes, std::uint64_t* credit)
      : ring_(ring), stride_bytes_(stride_bytes), credit_(credit) {}

  std::byte* slot(std::uint64_t slot_idx) { return ring_ + slot_idx * stride_bytes_; }
  void put_slot(std::uint64_t /*slot_idx*/, std::size_t /*first*/, std::size_t /*bytes*/) {}  // already there
  void put_sequence(std::uint64_t slot_idx, std::uint64_t sequence) {
    store_release(reinterpret_cast<std::uint64_t*>(slot(slot_idx)), sequence);
  }
  void flush() {}
  std::uint64_t read_credit() { return load_acquire(credit_); }
  [[nodiscard]] Visibility visibility() const { return Visibility::at_once; }

 private:
  std::byte* ring_;  // [num_slots, stride_bytes]
  std::size_t stride_bytes_;
  std::uint64_t* credit_;
};

class SharedConsumerMemory {
 public:
  SharedConsumerMemory(std::byte* ring, std::size_t stride_bytes, std::uint64_t* credit)
      : ring_(ring), stride_bytes_(stride_bytes), credit_(credit) {}

  const std::byte* slot(std::uint64_t slot_idx) const { return ring_ + slot_idx * stride_bytes_; }
  std::uint64_t read_sequence(std::uint64_t slot_idx) {
    return load_acquire(reinterpret_cast<std::uint64_t*>(ring_ + slot_idx * stride_bytes_));
  }
  void put_credit(std::uint64_t credit) { store_release(credit_, credit); }
  void flush() {}
  [[nodiscard]] Visibility visibility() const { return Visibility::at_once; }

 private:
  std::byte* ring_;  // [num_slots, stride_bytes]
  std::size_t stride_bytes_;
  std::uint64_t* credit_;
};

}  // namespace moebius::comm
