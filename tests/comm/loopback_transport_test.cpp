// SPDX-License-Identifier: Apache-2.0
// Rings between threads of one process, one thread per endpoint; made to run under thread sanitizer.
#include "comm/loopback_transport.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/support/ring_traffic.hpp"
#include "tests/support/test_watchdog.hpp"

namespace moebius::test {
namespace {

using comm::Checksum;
using comm::LoopbackNetwork;
using comm::RingOptions;

/// Each endpoint on a thread of its own until all traffic is through. An error ends all threads.
void run(LoopbackNetwork& network, const TrafficPlan& plan, const std::vector<TrafficHabits>& habits) {
  std::atomic<bool> failed = false;
  std::vector<std::string> errors(static_cast<std::size_t>(network.num_ranks()));
  {
    std::vector<std::jthread> threads;
    for (int r = 0; r < network.num_ranks(); ++r) {
      threads.emplace_back([&, r] {
        const auto idx = static_cast<std::size_t>(r);
        TrafficEndpoint rank(network.endpoint(RankId(r)), plan, habits[idx % habits.size()]);
        TestWatchdog watchdog(15, [&] { return rank.describe(); });
        try {
          while (!rank.done() && !failed) {
            if (rank.turn() != 0) {
              watchdog.progressed();
            } else {
              std::this_thread::yield();
            }
            watchdog.check();
          }
        } catch (const std::exception& error) {
          errors[idx] = error.what();
          failed = true;
        }
      });
    }
  }
  for (const auto& error : errors) EXPECT_EQ(error, "");
}

TrafficPlan all_pairs(std::int64_t num_messages, std::size_t max_payload_bytes, std::uint64_t seed) {
  return {.seed = seed,
          .max_payload_bytes = max_payload_bytes,
          .num_messages = [=](RankId, RankId) { return num_messages; }};
}

const comm::WritesTo everybody = [](RankId, RankId) { return true; };

TEST(LoopbackTransport, OneProducerAMillionSlots) {
  const comm::WritesTo forward = [](RankId from, RankId to) { return from == RankId(0) && to == RankId(1); };
  LoopbackNetwork network(2, {.slot_bytes = 64, .num_slots = 64, .checksum = Checksum::on}, forward);
  run(network,
      {.seed = 5,
       .max_payload_bytes = 64,
       .num_messages = [&](RankId from, RankId to) { return forward(from, to) ? 1'000'000 : 0; }},
      {{.sends_per_turn = 64}});
  EXPECT_EQ(network.endpoint(RankId(0)).counters().messages_sent, 1'000'000);
  EXPECT_EQ(network.endpoint(RankId(1)).counters().messages_received, 1'000'000);
  EXPECT_EQ(network.endpoint(RankId(0)).counters().bytes_sent, network.endpoint(RankId(1)).counters().bytes_received);
}

TEST(LoopbackTransport, OneSlot) {
  LoopbackNetwork network(2, {.slot_bytes = 128, .num_slots = 1, .checksum = Checksum::on}, everybody);
  run(network, all_pairs(5000, 128, 2), {{}});
}

TEST(LoopbackTransport, AllToOneWithASlowConsumerMeetsBackPressure) {
  const comm::WritesTo to_zero = [](RankId from, RankId to) { return to == RankId(0) && from != to; };
  LoopbackNetwork network(4, {.slot_bytes = 256, .num_slots = 2, .checksum = Checksum::on}, to_zero);
  const TrafficPlan plan{.seed = 9,
                         .max_payload_bytes = 256,
                         .num_messages = [&](RankId from, RankId to) { return to_zero(from, to) ? 4000 : 0; }};
  run(network, plan, {{.takes_per_turn = 1, .turns_per_drain = 3}, {}, {}, {}});
  for (int from = 1; from < 4; ++from) EXPECT_GT(network.endpoint(RankId(from)).counters().reserve_refused, 0);
}

TEST(LoopbackTransport, RandomDelayBetweenAnyTwoSteps) {
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    const int num_slots = static_cast<int>(1 + seed % 4);
    LoopbackNetwork network(3, {.slot_bytes = 192, .num_slots = num_slots, .checksum = Checksum::on}, everybody, seed);
    run(network, all_pairs(400, 192, seed), {{.sends_per_turn = 2}, {.takes_per_turn = 3}, {.turns_per_drain = 2}});
    EXPECT_FALSE(HasFailure()) << "seed " << seed;
  }
}

TEST(LoopbackTransport, OneRankAloneSendsToItself) {
  LoopbackNetwork network(1, {.slot_bytes = 64, .num_slots = 4, .checksum = Checksum::on}, everybody);
  run(network, all_pairs(10'000, 64, 4), {{}});
}

}  // namespace
}  // namespace moebius::test
