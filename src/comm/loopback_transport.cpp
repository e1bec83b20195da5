// SPDX-License-Identifier: Apache-2.0
#include "comm/loopback_transport.hpp"

#include <thread>

namespace moebius::comm {

namespace {

std::uint64_t next_random(std::uint64_t& state) {
  state += 0x9e3779b97f4a7c15U;
  std::uint64_t z = state;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31);
}

}  // namespace

void Pace::pause() {
  const std::uint64_t draw = next_random(state_);
  if (state_ == 0) state_ = 1;  // 0 means "never", and this one is to go on
  // Most steps pass; some give the core away a few times; a rare one stays away for long.
  const std::uint64_t yields = draw % 8 != 0 ? 0 : (draw >> 8) % 64 != 0 ? (draw >> 16) % 4 : 200;
  for (std::uint64_t i = 0; i < yields; ++i) std::this_thread::yield();
}

LoopbackTransport::LoopbackTransport(RankId rank, int num_ranks, const RingOptions& options)
    : rank_(rank), num_ranks_(num_ranks), slot_bytes_(options.slot_bytes), rings_(num_ranks, options) {}

std::span<std::byte> LoopbackTransport::try_reserve(RankId to, std::size_t bytes) {
  return rings_.try_reserve(to, bytes);
}

void LoopbackTransport::commit(RankId to, const MessageHeader& header, std::size_t bytes) {
  rings_.commit(to, header, bytes);
}

void LoopbackTransport::flush() { rings_.flush(); }

std::size_t LoopbackTransport::drain(const MessageHandler& handler, std::size_t max_messages) {
  return rings_.drain(handler, max_messages, [] {});
}

void LoopbackTransport::progress() { rings_.complete_credits(); }

LoopbackNetwork::LoopbackNetwork(int num_ranks, const RingOptions& options, const WritesTo& writes,
                                 std::uint64_t delay_seed) {
  for (int r = 0; r < num_ranks; ++r) {
    endpoints_.push_back(std::make_unique<LoopbackTransport>(RankId(r), num_ranks, options));
  }
  std::uint64_t seed = delay_seed;
  const auto next_seed = [&] { return delay_seed == 0 ? 0 : next_random(seed) | 1U; };
  for (int from = 0; from < num_ranks; ++from) {
    for (int to = 0; to < num_ranks; ++to) {
      if (!writes(RankId(from), RankId(to))) continue;
      rings_.push_back(make_aligned_bytes(ring_bytes(options) + cache_line_bytes));
      std::byte* ring = rings_.back().get();
      auto* credit = reinterpret_cast<std::uint64_t*>(ring + ring_bytes(options));
      const std::size_t stride = slot_stride_bytes(options);
      endpoint(RankId(from)).rings_.add_producer(
          RankId(to), PacedProducerMemory(SharedProducerMemory(ring, stride, credit), next_seed()));
      endpoint(RankId(to)).rings_.add_consumer(
          RankId(from), PacedConsumerMemory(SharedConsumerMemory(ring, stride, credit), next_seed()));
    }
  }
}

}  // namespace moebius::comm
