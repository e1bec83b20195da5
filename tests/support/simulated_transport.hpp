// SPDX-License-Identifier: Apache-2.0
#pragma once
// A Transport over simulated one-sided memory that is as unkind as the MPI standard allows: a Put is
// cut into pieces, the pieces become visible in any order and at any later time, also after younger
// Puts, and each piece reads its origin only when it becomes visible. Only a flush completes them.
// One thread plays all ranks, so a seed gives the same run again; between any two steps of one rank the
// wire lets others run (let_others_run), so a rank may look while another is amid a flush.
//
// The fences of the ring are template parameters: with NoFence in their place the simulation must
// catch what goes wrong (ring_test.cpp).

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "comm/aligned_bytes.hpp"
#include "comm/ring_endpoint.hpp"
#include "comm/window_layout.hpp"
#include "tests/support/ring_traffic.hpp"

namespace moebius::test {

/// Leaves out the flush between data and the word that announces it.
struct NoFence {
  template <class Memory>
  static void apply(Memory&) {}
};

/// All Puts under way between any two ranks.
class SimulatedWire {
 public:
  SimulatedWire(int num_ranks, std::uint64_t seed)
      : num_ranks_(static_cast<std::size_t>(num_ranks)), random_(seed), links_(num_ranks_ * num_ranks_) {}

  void put(RankId origin_rank, RankId target_rank, const std::byte* origin, std::byte* target, std::size_t bytes) {
    std::size_t at = 0;
    while (at < bytes) {
      // Pieces end on words: an aligned 64-bit word is never torn.
      const std::size_t piece = std::min<std::size_t>(bytes - at, 8 * (1 + random_.below(16)));
      link(origin_rank, target_rank).push_back({origin + at, target + at, piece});
      at += piece;
    }
    let_others_run();
  }

  void flush(RankId origin_rank, RankId target_rank) {
    auto& pieces = link(origin_rank, target_rank);
    while (!pieces.empty()) {
      make_visible(pieces);
      let_others_run();
    }
  }

  /// Runs between any two steps; it must leave alone the ranks that are in the middle of something.
  void on_each_step(std::function<void()> run_others) { run_others_ = std::move(run_others); }

  /// Let a few pieces of any links arrive.
  void deliver_some() {
    for (std::uint64_t i = random_.below(6); i > 0; --i) {
      auto& pieces = links_[random_.below(links_.size())];
      if (!pieces.empty()) make_visible(pieces);
    }
  }

 private:
  struct Piece {
    const std::byte* origin;
    std::byte* target;
    std::size_t bytes;
  };

  std::vector<Piece>& link(RankId origin_rank, RankId target_rank) {
    return links_[origin_rank.idx() * num_ranks_ + target_rank.idx()];
  }

  void let_others_run() {
    if (run_others_) run_others_();
  }

  void make_visible(std::vector<Piece>& pieces) {
    std::swap(pieces[random_.below(pieces.size())], pieces.back());
    std::memcpy(pieces.back().target, pieces.back().origin, pieces.back().bytes);
    pieces.pop_back();
  }

  std::size_t num_ranks_;
  TestRandom random_;
  std::vector<std::vector<Piece>> links_;  // [num_ranks, num_ranks] origin, target
  std::function<void()> run_others_;
};

/// Memory of one pair: the ring in the reader's window, the credit word in the writer's, and the
/// origins that both sides put from.
struct SimulatedPair {
  RankId from, to;
  std::size_t stride_bytes;
  comm::AlignedBytes ring, staging;
  std::uint64_t credit = 0, staged_credit = 0;
  SimulatedWire* wire;
};

class SimulatedProducerMemory {
 public:
  explicit SimulatedProducerMemory(SimulatedPair& pair) : pair_(&pair) {}
  std::byte* slot(std::uint64_t slot_idx) { return pair_->staging.get() + slot_idx * pair_->stride_bytes; }
  void put_slot(std::uint64_t slot_idx, std::size_t first, std::size_t bytes) {
    const std::size_t at = slot_idx * pair_->stride_bytes + first;
    pair_->wire->put(pair_->from, pair_->to, pair_->staging.get() + at, pair_->ring.get() + at, bytes);
  }
  void put_sequence(std::uint64_t slot_idx, std::uint64_t sequence) {
    std::memcpy(slot(slot_idx), &sequence, sizeof sequence);
    put_slot(slot_idx, 0, sizeof sequence);
  }
  void flush() { pair_->wire->flush(pair_->from, pair_->to); }
  std::uint64_t read_credit() { return pair_->credit; }
  [[nodiscard]] comm::Visibility visibility() const { return comm::Visibility::after_flush; }

 private:
  SimulatedPair* pair_;
};

class SimulatedConsumerMemory {
 public:
  explicit SimulatedConsumerMemory(SimulatedPair& pair) : pair_(&pair) {}
  const std::byte* slot(std::uint64_t slot_idx) { return pair_->ring.get() + slot_idx * pair_->stride_bytes; }
  std::uint64_t read_sequence(std::uint64_t slot_idx) {
    std::uint64_t sequence = 0;
    std::memcpy(&sequence, slot(slot_idx), sizeof sequence);
    return sequence;
  }
  /// The origin of an unfinished Put must not change, so each credit gets an origin of its own here:
  /// what a missing fence does is reorder credits, not overwrite them.
  void put_credit(std::uint64_t credit) {
    origins_.push_back(std::make_unique<std::uint64_t>(credit));
    pair_->wire->put(pair_->to, pair_->from, reinterpret_cast<const std::byte*>(origins_.back().get()),
                     reinterpret_cast<std::byte*>(&pair_->credit), sizeof credit);
  }
  void flush() { pair_->wire->flush(pair_->to, pair_->from); }
  [[nodiscard]] comm::Visibility visibility() const { return comm::Visibility::after_flush; }

 private:
  SimulatedPair* pair_;
  std::vector<std::unique_ptr<std::uint64_t>> origins_;
};

template <class PublishFence = comm::FlushFence, class CreditFence = comm::FlushFence>
class SimulatedTransport final : public comm::Transport {
 public:
  using Rings = comm::RingEndpoint<SimulatedProducerMemory, SimulatedConsumerMemory, PublishFence, CreditFence>;

  SimulatedTransport(RankId rank, int num_ranks, const comm::RingOptions& options, SimulatedWire& wire)
      : rank_(rank), num_ranks_(num_ranks), slot_bytes_(options.slot_bytes), rings_(num_ranks, options), wire_(wire) {}

  [[nodiscard]] RankId rank() const override { return rank_; }
  [[nodiscard]] int num_ranks() const override { return num_ranks_; }
  [[nodiscard]] std::size_t max_payload_bytes() const override { return slot_bytes_; }
  std::span<std::byte> try_reserve(RankId to, std::size_t bytes) override { return rings_.try_reserve(to, bytes); }
  void commit(RankId to, const comm::MessageHeader& header, std::size_t bytes) override {
    rings_.commit(to, header, bytes);
  }
  void flush() override { rings_.flush(); }
  std::size_t drain(const comm::MessageHandler& handler, std::size_t max_messages) override {
    return rings_.drain(handler, max_messages, [this] { wire_.deliver_some(); });
  }
  void progress() override { rings_.complete_credits(); }
  [[nodiscard]] const comm::TransportCounters& counters() const override { return rings_.counters(); }
  [[nodiscard]] Rings& rings() { return rings_; }

 private:
  RankId rank_;
  int num_ranks_;
  std::size_t slot_bytes_;
  Rings rings_;
  SimulatedWire& wire_;
};

template <class PublishFence = comm::FlushFence, class CreditFence = comm::FlushFence>
class SimulatedNetwork {
 public:
  using Endpoint = SimulatedTransport<PublishFence, CreditFence>;

  SimulatedNetwork(int num_ranks, const comm::RingOptions& options, const comm::WritesTo& writes, std::uint64_t seed)
      : wire_(num_ranks, seed) {
    for (int r = 0; r < num_ranks; ++r) {
      endpoints_.push_back(std::make_unique<Endpoint>(RankId(r), num_ranks, options, wire_));
    }
    for (int from = 0; from < num_ranks; ++from) {
      for (int to = 0; to < num_ranks; ++to) {
        if (!writes(RankId(from), RankId(to))) continue;
        pairs_.push_back(std::make_unique<SimulatedPair>());
        SimulatedPair& pair = *pairs_.back();
        pair.from = RankId(from);
        pair.to = RankId(to);
        pair.stride_bytes = comm::slot_stride_bytes(options);
        pair.ring = comm::make_aligned_bytes(comm::ring_bytes(options));
        pair.staging = comm::make_aligned_bytes(comm::ring_bytes(options));
        pair.wire = &wire_;
        endpoint(pair.from).rings().add_producer(pair.to, SimulatedProducerMemory(pair));
        endpoint(pair.to).rings().add_consumer(pair.from, SimulatedConsumerMemory(pair));
      }
    }
  }

  Endpoint& endpoint(RankId rank) { return *endpoints_[rank.idx()]; }
  SimulatedWire& wire() { return wire_; }

 private:
  SimulatedWire wire_;
  std::vector<std::unique_ptr<SimulatedPair>> pairs_;
  std::vector<std::unique_ptr<Endpoint>> endpoints_;  // [num_ranks]
};

}  // namespace moebius::test
