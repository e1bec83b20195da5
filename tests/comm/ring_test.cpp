// SPDX-License-Identifier: Apache-2.0
// The ring protocol over simulated memory that shows Puts in the worst allowed order, and what
// happens when a fence is left out.
#include "comm/ring.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/support/simulated_transport.hpp"

namespace moebius::test {
namespace {

using comm::Checksum;
using comm::FlushFence;
using comm::RingOptions;

enum class Outcome { all_arrived, contract_broken, wrong_data, stalled };

const comm::WritesTo everybody = [](RankId, RankId) { return true; };

/// Plays all ranks in random turns until all messages arrived, something broke, or nothing moves. A
/// turn of one rank may begin while another rank is in the middle of a Put or a flush of its own.
class Players {
 public:
  template <class Network>
  Players(Network& network, int num_ranks, const TrafficPlan& plan, std::uint64_t seed, const TrafficHabits& habits)
      : wire_(network.wire()), random_(seed), busy_(static_cast<std::size_t>(num_ranks)) {
    for (int r = 0; r < num_ranks; ++r) ranks_.emplace_back(network.endpoint(RankId(r)), plan, habits);
    wire_.on_each_step([this] {
      if (random_.below(3) == 0) run_somebody();
    });
  }
  ~Players() { wire_.on_each_step(nullptr); }

  Outcome play() {
    // Enough turns without a message to deliver every piece many times over.
    for (quiet_turns_ = 0; quiet_turns_ < 20'000; ++quiet_turns_) {
      try {
        run_somebody();
      } catch (const ContractError&) {
        return Outcome::contract_broken;
      } catch (const TrafficError&) {
        return Outcome::wrong_data;
      }
      wire_.deliver_some();
      bool done = true;
      for (const auto& rank : ranks_) done = done && rank.done();
      if (done) return Outcome::all_arrived;
    }
    return Outcome::stalled;
  }

 private:
  void run_somebody() {
    const std::size_t idx = random_.below(ranks_.size());
    if (busy_[idx] != 0) return;
    busy_[idx] = 1;
    if (ranks_[idx].turn() != 0) quiet_turns_ = 0;
    busy_[idx] = 0;
  }

  SimulatedWire& wire_;
  TestRandom random_;
  std::vector<TrafficEndpoint> ranks_;
  std::vector<std::uint8_t> busy_;  // [num_ranks] 1: in the middle of a turn
  std::int64_t quiet_turns_ = 0;
};

template <class PublishFence, class CreditFence>
Outcome all_to_all(int num_ranks, const RingOptions& options, std::uint64_t seed, std::int64_t num_messages) {
  SimulatedNetwork<PublishFence, CreditFence> network(num_ranks, options, everybody, seed);
  const TrafficPlan plan{.seed = seed,
                         .max_payload_bytes = options.slot_bytes,
                         .num_messages = [=](RankId, RankId) { return num_messages; }};
  return Players(network, num_ranks, plan, seed + 1000, {.sends_per_turn = 3, .takes_per_turn = 7}).play();
}

TEST(Ring, EveryMessageArrivesOnceInOrderWhateverTheMemoryDoes) {
  for (const int num_ranks : {1, 2, 3, 5}) {
    for (const int num_slots : {1, 2, 3, 8}) {
      for (const Checksum checksum : {Checksum::on, Checksum::off}) {
        const RingOptions options{.slot_bytes = 256, .num_slots = num_slots, .checksum = checksum};
        const auto seed = static_cast<std::uint64_t>(num_ranks * 100 + num_slots);
        EXPECT_EQ((all_to_all<FlushFence, FlushFence>(num_ranks, options, seed, 300)), Outcome::all_arrived)
            << "ranks " << num_ranks << " slots " << num_slots << " seed " << seed;
      }
    }
  }
}

/// Outcomes of 20 seeded runs.
template <class PublishFence, class CreditFence>
std::multiset<Outcome> outcomes(const RingOptions& options) {
  std::multiset<Outcome> seen;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    seen.insert(all_to_all<PublishFence, CreditFence>(3, options, seed, 200));
  }
  return seen;
}

TEST(Ring, ChecksumCatchesMissingFlushBeforeSequence) {
  const auto seen = outcomes<NoFence, FlushFence>({.slot_bytes = 256, .num_slots = 4, .checksum = Checksum::on});
  EXPECT_EQ(seen.count(Outcome::contract_broken), 20U);
}

TEST(Ring, ReceiverSeesWrongBytesWithoutFlushBeforeSequenceAndWithoutChecksum) {
  const auto seen = outcomes<NoFence, FlushFence>({.slot_bytes = 256, .num_slots = 4, .checksum = Checksum::off});
  EXPECT_EQ(seen.count(Outcome::all_arrived), 0U);
  EXPECT_GT(seen.count(Outcome::wrong_data), 0U);
}

TEST(Ring, MissingFlushBetweenCreditsIsCaught) {
  // Two credits that change places: the later view of the credit shrinks, or stays too small forever.
  const auto seen = outcomes<FlushFence, NoFence>({.slot_bytes = 64, .num_slots = 4, .checksum = Checksum::on});
  EXPECT_EQ(seen.count(Outcome::wrong_data), 0U);
  EXPECT_GT(seen.count(Outcome::contract_broken) + seen.count(Outcome::stalled), 10U);
}

TEST(Ring, FullRingRefusesAndAnEmptyMessageStillTakesASlot) {
  const RingOptions options{.slot_bytes = 64, .num_slots = 2, .checksum = Checksum::on};
  SimulatedNetwork<> network(1, options, everybody, 1);
  auto& self = network.endpoint(RankId(0));
  for (int i = 0; i < 2; ++i) {
    ASSERT_FALSE(self.try_reserve(RankId(0), 0).empty());
    self.commit(RankId(0), {}, 0);
  }
  EXPECT_TRUE(self.try_reserve(RankId(0), 64).empty());
  EXPECT_EQ(self.counters().reserve_refused, 1);
  self.flush();
  EXPECT_EQ(self.drain([](auto, auto&, auto payload) { EXPECT_TRUE(payload.empty()); }, 1), 1U);
  EXPECT_TRUE(self.try_reserve(RankId(0), 64).empty()) << "the credit is not visible before progress";
  self.progress();
  EXPECT_EQ(self.try_reserve(RankId(0), 64).size(), 64U);
}

TEST(Ring, NoCreditIsOwedWhenDrainReturns) {
  // 16 slots return credit by four; the producer must not wait for three more messages to be read.
  const RingOptions options{.slot_bytes = 64, .num_slots = 16, .checksum = Checksum::on};
  SimulatedNetwork<> network(2, options, everybody, 2);
  auto& sender = network.endpoint(RankId(0));
  auto& receiver = network.endpoint(RankId(1));
  for (int i = 0; i < 16; ++i) {
    ASSERT_FALSE(sender.try_reserve(RankId(1), 0).empty());
    sender.commit(RankId(1), {}, 0);
  }
  sender.flush();
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(sender.try_reserve(RankId(1), 0).empty());
    ASSERT_EQ(receiver.drain([](auto, auto&, auto) {}, 1), 1U);
    receiver.progress();
    ASSERT_FALSE(sender.try_reserve(RankId(1), 0).empty());
    sender.commit(RankId(1), {}, 0);
    sender.flush();
  }
}

TEST(Ring, OneFlushPublishesAllCommittedSlotsAndNothingBeforeIt) {
  const RingOptions options{.slot_bytes = 64, .num_slots = 4, .checksum = Checksum::on};
  SimulatedNetwork<> network(2, options, everybody, 3);
  auto& sender = network.endpoint(RankId(0));
  auto& receiver = network.endpoint(RankId(1));
  std::vector<std::uint32_t> seen;
  const auto take = [&] {
    return receiver.drain([&](RankId, const comm::MessageHeader& header, auto) { seen.push_back(header.num_rows); },
                          10);
  };
  for (std::uint32_t i = 0; i < 3; ++i) {
    sender.try_reserve(RankId(1), 8);
    sender.commit(RankId(1), {.num_rows = i}, 8);
  }
  for (int i = 0; i < 100; ++i) network.wire().deliver_some();
  EXPECT_EQ(take(), 0U);
  sender.flush();
  EXPECT_EQ(take(), 3U);
  EXPECT_THAT(seen, ::testing::ElementsAre(0, 1, 2));
}

TEST(Ring, BrokenUseIsAContractError) {
  const RingOptions options{.slot_bytes = 64, .num_slots = 2, .checksum = Checksum::on};
  SimulatedNetwork<> network(2, options, [](RankId from, RankId) { return from == RankId(0); }, 1);
  auto& sender = network.endpoint(RankId(0));
  EXPECT_THROW(network.endpoint(RankId(1)).try_reserve(RankId(0), 8), ContractError);  // no such ring
  EXPECT_THROW(sender.try_reserve(RankId(1), 65), ContractError);
  EXPECT_THROW(sender.commit(RankId(1), {}, 0), ContractError);
  ASSERT_FALSE(sender.try_reserve(RankId(1), 8).empty());
  sender.commit(RankId(1), {.kind = 1}, 8);
  EXPECT_THROW(sender.commit(RankId(1), {.kind = 1}, 8), ContractError);  // no reservation is open
  EXPECT_THROW(sender.commit(RankId(1), {}, 9), ContractError);
}

TEST(Ring, DrainIsFairOverSources) {
  const RingOptions options{.slot_bytes = 64, .num_slots = 64, .checksum = Checksum::off};
  SimulatedNetwork<> network(4, options, everybody, 1);
  for (int from = 1; from < 4; ++from) {
    auto& sender = network.endpoint(RankId(from));
    for (int i = 0; i < 64; ++i) {
      sender.try_reserve(RankId(0), 0);
      sender.commit(RankId(0), {}, 0);
    }
    sender.flush();
  }
  std::vector<int> taken(4);
  const auto count = [&](RankId from, auto&, auto) { ++taken[from.idx()]; };
  for (int i = 0; i < 90; ++i) ASSERT_EQ(network.endpoint(RankId(0)).drain(count, 1), 1U);
  EXPECT_THAT(taken, ::testing::ElementsAre(0, 30, 30, 30));
  ASSERT_EQ(network.endpoint(RankId(0)).drain(count, 60), 60U);
  for (int from = 1; from < 4; ++from) EXPECT_NEAR(taken[static_cast<std::size_t>(from)], 50, 4);
}

}  // namespace
}  // namespace moebius::test
