// SPDX-License-Identifier: Apache-2.0
#include "ranks/outbox.hpp"

#include <gtest/gtest.h>

#include <cstring>

#include "base/check.hpp"
#include "comm/loopback_transport.hpp"

namespace moebius::ranks {
namespace {

const comm::RingOptions two_slots{.slot_bytes = 64, .num_slots = 2};

std::vector<int> drain_all(comm::Transport& transport) {
  std::vector<int> values;
  transport.drain([&](RankId, const comm::MessageHeader& header, std::span<const std::byte> payload) {
    int value = -1;
    if (!payload.empty()) std::memcpy(&value, payload.data(), sizeof(value));
    EXPECT_EQ(header.num_rows, payload.size());
    values.push_back(value);
  }, 1000);
  transport.flush();
  transport.progress();
  return values;
}

TEST(Outbox, KeepsMessagesInOrderThroughAFullRing) {
  comm::LoopbackNetwork network(2, two_slots, [](RankId from, RankId to) { return from != to; });
  comm::Transport& sender = network.endpoint(RankId(0));
  Outbox outbox(sender);
  for (int i = 0; i < 9; ++i) {
    outbox.send(RankId(1), {.kind = 1, .num_rows = sizeof(int)}, sizeof(int),
                [&](std::span<std::byte> bytes) { std::memcpy(bytes.data(), &i, sizeof(i)); });
  }
  outbox.send(RankId(1), {.kind = 3}, 0, [](std::span<std::byte> bytes) { EXPECT_TRUE(bytes.empty()); });
  EXPECT_EQ(outbox.num_waiting(), 8);
  EXPECT_EQ(outbox.blocked_on(), RankId(1));
  std::vector<int> received;
  for (int turn = 0; turn < 100 && received.size() < 10; ++turn) {
    sender.flush();
    for (const int value : drain_all(network.endpoint(RankId(1)))) received.push_back(value);
    sender.progress();
    outbox.pump();
  }
  EXPECT_EQ(received, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, -1}));
  EXPECT_TRUE(outbox.empty());
  EXPECT_FALSE(outbox.blocked_on().valid());
}

TEST(Outbox, AFullRingToOneRankHoldsNobodyElseUp) {
  comm::LoopbackNetwork network(3, two_slots, [](RankId from, RankId to) { return from != to; });
  Outbox outbox(network.endpoint(RankId(0)));
  const auto send = [&](int to) { outbox.send(RankId(to), {.kind = 1}, 0, [](std::span<std::byte>) {}); };
  for (int i = 0; i < 5; ++i) send(1);
  send(2);
  network.endpoint(RankId(0)).flush();
  EXPECT_EQ(outbox.num_waiting(), 3);
  EXPECT_EQ(drain_all(network.endpoint(RankId(2))).size(), 1U);
}

TEST(Outbox, OpenMessagesKeepTheirOrderWhateverIsWrittenFirst) {
  comm::LoopbackNetwork network(2, two_slots, [](RankId from, RankId to) { return from != to; });
  comm::Transport& sender = network.endpoint(RankId(0));
  Outbox outbox(sender);
  std::vector<std::span<std::byte>> rooms;
  for (int i = 0; i < 5; ++i) rooms.push_back(outbox.open(RankId(1), sizeof(int)));  // two are slots, three wait
  EXPECT_EQ(outbox.num_waiting(), 3);
  for (int i = 5; i-- > 0;) std::memcpy(rooms[static_cast<std::size_t>(i)].data(), &i, sizeof(i));
  EXPECT_THROW(outbox.pump(), ContractError);
  for (int i = 0; i < 5; ++i) outbox.seal(RankId(1), {.kind = 1, .num_rows = sizeof(int)});
  EXPECT_THROW(outbox.seal(RankId(1), {}), ContractError);
  std::vector<int> received;
  for (int turn = 0; turn < 20 && received.size() < 5; ++turn) {
    sender.flush();
    for (const int value : drain_all(network.endpoint(RankId(1)))) received.push_back(value);
    sender.progress();
    outbox.pump();
  }
  EXPECT_EQ(received, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(Outbox, AMessageToItselfNeedsNoRingAndArrivesAtOnce) {
  comm::LoopbackNetwork network(2, two_slots, [](RankId from, RankId to) { return from != to; });
  Outbox outbox(network.endpoint(RankId(1)));
  std::vector<int> received;
  outbox.deliver_own_to([&](RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload) {
    EXPECT_EQ(from, RankId(1));
    EXPECT_EQ(header.kind, 5);
    ASSERT_EQ(payload.size(), sizeof(int));
    received.emplace_back();
    std::memcpy(&received.back(), payload.data(), sizeof(int));
  });
  for (int i = 0; i < 5; ++i) {
    outbox.send(RankId(1), {.kind = 5}, sizeof(int), [&](std::span<std::byte> bytes) { std::memcpy(bytes.data(), &i, sizeof(i)); });
    EXPECT_EQ(received.size(), static_cast<std::size_t>(i) + 1);
  }
  EXPECT_EQ(received, (std::vector<int>{0, 1, 2, 3, 4}));
  EXPECT_TRUE(outbox.empty());
}

}  // namespace
}  // namespace moebius::ranks
