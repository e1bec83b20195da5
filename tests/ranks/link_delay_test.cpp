// SPDX-License-Identifier: Apache-2.0
// DelayedTransport over loopback rings and a clock that the test sets.
#include "ranks/link_delay.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <random>

#include "comm/loopback_transport.hpp"
#include "ranks/fake_clock.hpp"
#include "ranks/wire.hpp"

namespace moebius::ranks {
namespace {

/// Times do not matter here.
policy::StageTimes some_times() {
  policy::ModelSizes sizes{.name = "", .config = {}, .hidden_bytes = 1, .output_bytes = 2};
  sizes.config.hidden_size = 100;
  return {{.name = "", .flops = 1, .bytes_per_s = 1}, sizes};
}

class LinkDelayTest : public ::testing::Test {
 protected:
  /// Three ranks that all write to all; a message takes 1 s and a second for each of its rows, dilated twice.
  LinkDelayTest() {
    for (int rank = 0; rank < 3; ++rank) {
      paces_.push_back(std::make_unique<StagePace>(times_, 2, 1, StagePace::ExpertStage::call));
      paces_.back()->start();
      ends_.push_back(std::make_unique<DelayedTransport>(network_.endpoint(RankId(rank)), *paces_.back(), arrivals_[static_cast<std::size_t>(rank)], policy::Link{"", 1, 1}, 2,
                                                         [](const comm::MessageHeader& header, std::span<const std::byte>) { return header.num_rows; }));
    }
  }
  void send(int from, int to, std::uint32_t rows, std::size_t bytes = 4, std::uint32_t number = 0) {
    const auto room = ends_[static_cast<std::size_t>(from)]->try_reserve(RankId(to), bytes);
    ASSERT_FALSE(room.empty());
    if (bytes >= sizeof(number)) std::memcpy(room.data(), &number, sizeof(number));
    ends_[static_cast<std::size_t>(from)]->commit(RankId(to), {.num_rows = rows, .num_pairs = number}, bytes);
    ends_[static_cast<std::size_t>(from)]->flush();
  }
  struct Taken {
    int from;
    std::uint32_t number;
  };
  /// What rank `at` is given at this time.
  std::vector<Taken> take(int at, double now) {
    fake_now_s = now;
    std::vector<Taken> taken;
    ends_[static_cast<std::size_t>(at)]->drain(
        [&](RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload) {
          std::uint32_t number = header.num_pairs;
          if (payload.size() >= sizeof(number)) std::memcpy(&number, payload.data(), sizeof(number));
          EXPECT_EQ(number, header.num_pairs);
          taken.push_back({from.value, number});
        },
        100);
    return taken;
  }
  StagePace& pace(int rank) { return *paces_[static_cast<std::size_t>(rank)]; }

  FakeClock clock_;
  policy::StageTimes times_ = some_times();
  comm::LoopbackNetwork network_{3, {.slot_bytes = 256, .num_slots = 4}, [](RankId from, RankId to) { return from != to; }};
  std::array<Arrivals, 3> arrivals_;
  std::vector<std::unique_ptr<StagePace>> paces_;
  std::vector<std::unique_ptr<DelayedTransport>> ends_;
};

TEST_F(LinkDelayTest, AMessageIsHandedOverWhenItsTimeHasCome) {
  send(0, 1, 4);  // 2 x (1 + 4) = 10 s
  EXPECT_TRUE(take(1, 9.9).empty());
  ASSERT_EQ(take(1, 10.5).size(), 1U);
  EXPECT_DOUBLE_EQ(pace(1).time_s(), 10);  // its time is that of the message, not when it looked
  EXPECT_TRUE(take(1, 100).empty());
}

TEST_F(LinkDelayTest, OneAtATimeLeavesARank) {
  send(0, 1, 4);
  send(0, 2, 1);  // begins when the other has left: 10 .. 14
  EXPECT_TRUE(take(2, 13.9).empty());
  EXPECT_EQ(take(2, 14).size(), 1U);
}

TEST_F(LinkDelayTest, OneAtATimeEntersARankInTheOrderInWhichTheyBegan) {
  pace(0).reach(1);
  send(0, 2, 4, 4, 7);  // 1 .. 11
  send(1, 2, 0, 4, 8);  // 0 .. 2, sent later but begun before
  const auto first = take(2, 5);
  ASSERT_EQ(first.size(), 1U);
  EXPECT_EQ(first[0].number, 8U);
  EXPECT_TRUE(take(2, 11.9).empty());
  EXPECT_EQ(take(2, 12).size(), 1U);  // behind the other: 2 + 10
}

TEST_F(LinkDelayTest, ARankAtWorkSeesOnlyWhatWasThereAtItsTime) {
  send(0, 1, 0);
  send(0, 1, 0);  // there at 2 and 4
  pace(1).reach(3);
  pace(1).end_turn(StagePace::Turn::stage);
  EXPECT_EQ(take(1, 50).size(), 1U);
  EXPECT_TRUE(take(1, 50).empty());
  pace(1).end_turn(StagePace::Turn::no_stage);  // nothing to do at 3: on to the next message
  EXPECT_EQ(take(1, 50).size(), 1U);
  EXPECT_DOUBLE_EQ(pace(1).time_s(), 4);
}

TEST_F(LinkDelayTest, WaitingForTheLinkIsNotHiddenAndWaitingForASenderIsNoCommunication) {
  send(0, 1, 4);  // 0 .. 10
  EXPECT_EQ(take(1, 10).size(), 1U);
  EXPECT_DOUBLE_EQ(arrivals_[1].exposed_s(), 10);
  pace(1).reach(15);  // works from 10 to 15
  pace(1).end_turn(StagePace::Turn::stage);
  pace(0).reach(12);
  send(0, 1, 4);      // 12 .. 22: 12 .. 15 is hidden
  EXPECT_TRUE(take(1, 50).empty());
  pace(1).end_turn(StagePace::Turn::no_stage);
  EXPECT_EQ(take(1, 50).size(), 1U);
  EXPECT_DOUBLE_EQ(arrivals_[1].exposed_s(), 10 + 7);
  pace(0).reach(30);
  send(0, 1, 0);      // 30 .. 32: waits from 22 to 30 for the sender
  EXPECT_EQ(take(1, 50).size(), 1U);
  EXPECT_DOUBLE_EQ(arrivals_[1].exposed_s(), 17 + 2);
}

TEST_F(LinkDelayTest, TransfersHaveTheTimesOfTheirLinks) {
  Timeline timeline(0, 10);
  arrivals_[2].record_in(&timeline);
  const auto send_block = [&](int from, BlockKind kind, std::uint32_t rows) {
    const std::uint32_t number = 6;
    std::memcpy(ends_[static_cast<std::size_t>(from)]->try_reserve(RankId(2), 4).data(), &number, sizeof(number));
    ends_[static_cast<std::size_t>(from)]->commit(
        RankId(2), {.kind = static_cast<std::uint16_t>(kind), .layer = 7, .generation = 11, .num_rows = rows, .num_pairs = 6, .micro_batch = 8, .part = 9}, 4);
    ends_[static_cast<std::size_t>(from)]->flush();
  };
  send_block(0, BlockKind::expert_outputs, 4);          // 0 .. 10
  pace(1).reach(1);
  send_block(1, BlockKind::dispatch_in_place, 0);       // begins at 1, is on the link into rank 2 from 10 to 12
  send_block(1, BlockKind::fin, 0);                     // no rows: no transfer
  for (const double now : {10.0, 12.0, 14.0}) EXPECT_EQ(take(2, now).size(), 1U);
  ASSERT_EQ(timeline.transfers().size(), 2U);
  EXPECT_EQ(timeline.transfers()[0],
            (Transfer{.begin_s = 0, .end_s = 10, .link_s = 10, .pairs = 4, .bytes = 4, .from = 0, .layer = 7, .micro_batch = 8, .part = 9, .call = 11}));
  EXPECT_EQ(timeline.transfers()[1],
            (Transfer{.begin_s = 1, .end_s = 12, .link_s = 2, .pairs = 6, .bytes = 4, .from = 1, .layer = 7, .micro_batch = 8, .part = 9, .call = -1}));
}

TEST_F(LinkDelayTest, AMessageThatShouldHaveBeenThereIsCounted) {
  pace(1).reach(30);
  pace(1).choose();
  send(0, 1, 0);  // there at 2
  pace(0).reach(40);
  send(0, 1, 0);
  EXPECT_EQ(take(1, 50).size(), 1U);
  EXPECT_EQ(take(1, 50).size(), 1U);
  EXPECT_EQ(pace(1).counters().messages, 2);
  EXPECT_EQ(pace(1).counters().missed_messages, 1);
}

TEST_F(LinkDelayTest, AnEmptyMessageIsNoFullRing) {
  send(0, 1, 0, 0, 9);
  const auto taken = take(1, 2);
  ASSERT_EQ(taken.size(), 1U);
  EXPECT_EQ(taken[0].number, 9U);
}

TEST_F(LinkDelayTest, NothingIsLostAndEachSourceKeepsItsOrder) {
  std::mt19937_64 random(1);
  std::uint32_t sent[2] = {0, 0}, got[2] = {0, 0};
  double now = 0;
  while (got[0] + got[1] < 600) {
    now += static_cast<double>(random() % 4);
    const int from = static_cast<int>(random() % 2);
    if (sent[from] < 300 && random() % 2 == 0) {
      pace(from).reach(now);
      const std::size_t bytes = random() % 2 == 0 ? 4 : ends_[0]->max_payload_bytes();
      const auto room = ends_[static_cast<std::size_t>(from)]->try_reserve(RankId(2), bytes);
      if (!room.empty()) {
        std::memcpy(room.data(), &sent[from], 4);
        ends_[static_cast<std::size_t>(from)]->commit(RankId(2), {.num_rows = static_cast<std::uint32_t>(random() % 3), .num_pairs = sent[from]}, bytes);
        ends_[static_cast<std::size_t>(from)]->flush();
        ++sent[from];
      }
    }
    for (const Taken& message : take(2, now)) {
      ASSERT_EQ(message.number, got[message.from]);
      ++got[message.from];
    }
    ASSERT_LT(now, 1e5) << "messages were lost";
  }
}

TEST(BlockBytes, AreThoseOfTheEmulatedModel) {
  const policy::StageTimes times = some_times();  // 100 numbers, of 1 byte to the experts and 2 back; tags of 8
  const MessageBytes bytes = block_bytes(times);
  const auto header = [](BlockKind kind, std::uint32_t rows, std::uint32_t pairs) {
    return comm::MessageHeader{.kind = static_cast<std::uint16_t>(kind), .num_rows = rows, .num_pairs = pairs};
  };
  EXPECT_EQ(bytes(header(BlockKind::dispatch, 3, 5), {}), 3 * 100 + 5 * 8);
  EXPECT_EQ(bytes(header(BlockKind::expert_outputs, 3, 0), {}), 3 * 208);
  EXPECT_EQ(bytes(header(BlockKind::expert_outputs_in_place, 3, 0), {}), 3 * 208);
  EXPECT_EQ(bytes(header(BlockKind::fin, 0, 0), {}), 0);
  comm::MessageHeader last_of_part = header(BlockKind::dispatch, 3, 5);
  last_of_part.kind |= part_end;
  EXPECT_EQ(bytes(last_of_part, {}), 3 * 100 + 5 * 8);
  const std::vector<RowPair> pairs = {{{7, 0}, 1}, {{7, 1}, 2}, {{9, 0}, 1}};  // two rows
  EXPECT_EQ(bytes(header(BlockKind::dispatch_in_place, 0, 3), std::as_bytes(std::span(pairs))), 2 * 100 + 3 * 8);
}

}  // namespace
}  // namespace moebius::ranks
