// SPDX-License-Identifier: Apache-2.0
#pragma once
// All rings of one rank: what the transports share, whatever their memory. Used by RingTransport,
// LoopbackTransport and the simulated transport of the tests.
//
// Fair: drain visits the sources in turn, takes at most `burst` messages from one, and starts the next
// call behind the last source it visited, so no source waits for more than `burst` messages of each
// other source. When drain returns, no credit is owed to anybody; progress() completes credits.

#include <cstddef>
#include <utility>
#include <vector>

#include "comm/ring.hpp"

namespace moebius::comm {

template <class ProducerMemory, class ConsumerMemory, class PublishFence = FlushFence, class CreditFence = FlushFence>
class RingEndpoint {
 public:
  using Producer = RingProducer<ProducerMemory, PublishFence>;
  using Consumer = RingConsumer<ConsumerMemory, CreditFence>;

  RingEndpoint(int num_ranks, const RingOptions& options)
      : options_(options), producer_of_(static_cast<std::size_t>(num_ranks), none) {}

  void add_producer(RankId to, ProducerMemory memory) {
    MOEBIUS_EXPECT(producer_of_[to.idx()] == none);
    producer_of_[to.idx()] = producers_.size();
    producers_.push_back(Producer(std::move(memory), options_));
  }
  void add_consumer(RankId from, ConsumerMemory memory) {
    consumers_.push_back({from, Consumer(std::move(memory), options_)});
  }

  std::span<std::byte> try_reserve(RankId to, std::size_t bytes) {
    const auto space = producer(to).try_reserve(bytes);
    if (space.empty()) ++counters_.reserve_refused;
    return space;
  }

  void commit(RankId to, const MessageHeader& header, std::size_t bytes) {
    Producer& ring = producer(to);
    const bool was_clean = !ring.has_unpublished();
    ring.commit(header, bytes);
    if (was_clean && ring.has_unpublished()) unpublished_.push_back(producer_of_[to.idx()]);
    ++counters_.messages_sent;
    counters_.bytes_sent += static_cast<std::int64_t>(bytes);
  }

  /// Publish all committed messages; the targets' Puts travel side by side.
  void flush() {
    for (const std::size_t i : unpublished_) producers_[i].begin_publish();
    for (const std::size_t i : unpublished_) producers_[i].finish_publish();
    unpublished_.clear();
  }

  /// `before_pass` runs before each visit of all sources (over MPI: MPI_Win_sync).
  template <class BeforePass>
  std::size_t drain(const MessageHandler& handler, std::size_t max_messages, BeforePass before_pass) {
    MOEBIUS_EXPECT(!draining_);  // a handler may send, but not receive
    draining_ = true;
    std::size_t num_taken = 0;
    bool found = !consumers_.empty();
    while (found && num_taken < max_messages) {
      found = false;
      before_pass();
      for (std::size_t visit = 0; visit < consumers_.size() && num_taken < max_messages; ++visit) {
        const std::size_t taken = take_from(next_source_, handler, std::min(burst, max_messages - num_taken));
        next_source_ = next_source_ + 1 == consumers_.size() ? 0 : next_source_ + 1;
        num_taken += taken;
        found = found || taken != 0;
      }
    }
    for (auto& source : consumers_) source.ring.return_credit();
    draining_ = false;
    return num_taken;
  }

  /// Complete the credits that earlier drains sent.
  void complete_credits() {
    for (auto& source : consumers_) source.ring.complete_credit();
  }

  [[nodiscard]] const TransportCounters& counters() const { return counters_; }

 private:
  struct Source {
    RankId from;
    Consumer ring;
  };

  Producer& producer(RankId to) {
    MOEBIUS_EXPECT(to.valid() && to.idx() < producer_of_.size());
    MOEBIUS_EXPECT(producer_of_[to.idx()] != none);  // else this pair has no ring
    return producers_[producer_of_[to.idx()]];
  }

  std::size_t take_from(std::size_t source_idx, const MessageHandler& handler, std::size_t max_messages) {
    Source& source = consumers_[source_idx];
    std::size_t taken = 0;
    while (taken < max_messages) {
      const auto message = source.ring.front();
      if (!message) break;
      const std::size_t bytes = message->payload.size();
      handler(source.from, message->header, message->payload);
      source.ring.pop();
      ++taken;
      ++counters_.messages_received;
      counters_.bytes_received += static_cast<std::int64_t>(bytes);
    }
    return taken;
  }

  // Enough to pay for visiting a silent source, few enough to stay fair with rings of 8 slots.
  static constexpr std::size_t burst = 4;
  static constexpr std::size_t none = static_cast<std::size_t>(-1);

  RingOptions options_;
  std::vector<std::size_t> producer_of_;  // [num_ranks] index into producers_
  std::vector<Producer> producers_;
  std::vector<std::size_t> unpublished_;  ///< indices into producers_
  std::vector<Source> consumers_;
  std::size_t next_source_ = 0;
  bool draining_ = false;
  TransportCounters counters_;
};

}  // namespace moebius::comm
