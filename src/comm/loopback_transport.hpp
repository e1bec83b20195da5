// SPDX-License-Identifier: Apache-2.0
#pragma once
// The rings of ring.hpp inside one process: for one rank alone, and for tests in which each endpoint
// has a thread of its own (also under thread sanitizer, which cannot look into MPI).
//
// With a delay seed every step of the protocol may be held up for a random while, so that two threads
// meet in all the orders that a network could produce.

#include <cstdint>
#include <memory>
#include <vector>

#include "comm/aligned_bytes.hpp"
#include "comm/ring_endpoint.hpp"
#include "comm/shared_port.hpp"
#include "comm/transport.hpp"
#include "comm/window_layout.hpp"

namespace moebius::comm {

/// Holds a thread up at random (seed 0: never). Splitmix64 (Steele, Lea, Flood, OOPSLA'14).
class Pace {
 public:
  explicit Pace(std::uint64_t seed) : state_(seed) {}
  void step() {
    if (state_ != 0) pause();
  }

 private:
  void pause();
  std::uint64_t state_;
};

/// SharedProducerMemory with a pause before each step.
class PacedProducerMemory {
 public:
  PacedProducerMemory(SharedProducerMemory memory, std::uint64_t seed) : memory_(memory), pace_(seed) {}
  std::byte* slot(std::uint64_t slot_idx) {
    pace_.step();
    return memory_.slot(slot_idx);
  }
  void put_slot(std::uint64_t slot_idx, std::size_t first, std::size_t bytes) {
    pace_.step();
    memory_.put_slot(slot_idx, first, bytes);
  }
  void put_sequence(std::uint64_t slot_idx, std::uint64_t sequence) {
    pace_.step();
    memory_.put_sequence(slot_idx, sequence);
  }
  void flush() { pace_.step(); }
  std::uint64_t read_credit() {
    pace_.step();
    return memory_.read_credit();
  }
  [[nodiscard]] Visibility visibility() const { return memory_.visibility(); }

 private:
  SharedProducerMemory memory_;
  Pace pace_;
};

/// SharedConsumerMemory with a pause before each step.
class PacedConsumerMemory {
 public:
  PacedConsumerMemory(SharedConsumerMemory memory, std::uint64_t seed) : memory_(memory), pace_(seed) {}
  const std::byte* slot(std::uint64_t slot_idx) {
    pace_.step();
    return memory_.slot(slot_idx);
  }
  std::uint64_t read_sequence(std::uint64_t slot_idx) {
    pace_.step();
    return memory_.read_sequence(slot_idx);
  }
  void put_credit(std::uint64_t credit) {
    pace_.step();
    memory_.put_credit(credit);
  }
  void flush() { pace_.step(); }
  [[nodiscard]] Visibility visibility() const { return memory_.visibility(); }

 private:
  SharedConsumerMemory memory_;
  Pace pace_;
};

/// One endpoint; made by a LoopbackNetwork, used by one thread.
class LoopbackTransport final : public Transport {
 public:
  LoopbackTransport(RankId rank, int num_ranks, const RingOptions& options);

  [[nodiscard]] RankId rank() const override { return rank_; }
  [[nodiscard]] int num_ranks() const override { return num_ranks_; }
  [[nodiscard]] std::size_t max_payload_bytes() const override { return slot_bytes_; }
  std::span<std::byte> try_reserve(RankId to, std::size_t bytes) override;
  void commit(RankId to, const MessageHeader& header, std::size_t bytes) override;
  void flush() override;
  std::size_t drain(const MessageHandler& handler, std::size_t max_messages) override;
  void progress() override;
  [[nodiscard]] const TransportCounters& counters() const override { return rings_.counters(); }

 private:
  friend class LoopbackNetwork;
  RankId rank_;
  int num_ranks_;
  std::size_t slot_bytes_;
  RingEndpoint<PacedProducerMemory, PacedConsumerMemory> rings_;
};

/// All endpoints and the memory between them; outlives their use.
class LoopbackNetwork {
 public:
  LoopbackNetwork(int num_ranks, const RingOptions& options, const WritesTo& writes, std::uint64_t delay_seed = 0);
  [[nodiscard]] LoopbackTransport& endpoint(RankId rank) { return *endpoints_[rank.idx()]; }
  [[nodiscard]] int num_ranks() const { return static_cast<int>(endpoints_.size()); }

 private:
  std::vector<AlignedBytes> rings_;    ///< one per pair that talks: slots, then the credit word
  std::vector<std::unique_ptr<LoopbackTransport>> endpoints_;  // [num_ranks]
};

}  // namespace moebius::comm
