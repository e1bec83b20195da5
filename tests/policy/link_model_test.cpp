// SPDX-License-Identifier: Apache-2.0
#include "policy/link_model.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <random>

namespace moebius::policy {
namespace {

using ::testing::ElementsAre;

TEST(LinkModel, AMessageTakesLatencyAndBytes) { EXPECT_DOUBLE_EQ((Link{"", 2.0, 10.0}.message_s(30)), 5.0); }

TEST(LinkModel, OneMessageAtATime) {
  LinkEnd end;
  EXPECT_EQ(end.begin_s(4), 4);
  end.take(4, 3);
  EXPECT_EQ(end.begin_s(5), 7);
  EXPECT_EQ(end.begin_s(9), 9);
}

TEST(LinkModel, BlocksLeaveOneAfterTheOtherFromTheNextRankOn) {
  const std::vector<double> message_s = {5, 9, 1, 0};
  // Rank 1 sends to 2, 3 (nothing) and 0.
  EXPECT_THAT(departures_s(10, 1, message_s), ElementsAre(11, 10, 10, 11));
}

TEST(LinkModel, AnExchangeEndsWithTheLastBlock) {
  const std::vector<double> begin = {10, 0, 11, 30}, message_s = {2, 0, 4, 0};
  EXPECT_EQ(exchange_end_s(10, 10, begin, message_s), 16);  // 10..12, then 12..16; the empty blocks do not count
  EXPECT_EQ(exchange_end_s(10, 20, begin, message_s), 20);  // it was still sending
  EXPECT_EQ(exchange_end_s(25, 10, begin, message_s), 25);
  EXPECT_EQ(exchange_busy_s(9, 9, begin, message_s), 6);    // 10 .. 16
  EXPECT_EQ(exchange_busy_s(9, 13, begin, message_s), 7);   // its own until 13, then 13 .. 16
  EXPECT_EQ(exchange_busy_s(13, 13, begin, message_s), 3);  // what was on the link before does not count
  EXPECT_EQ(exchange_busy_s(25, 10, begin, message_s), 0);
}

/// Against a link that is walked through a step at a time.
TEST(LinkModel, AnExchangeIsThatOfAQueueInSmallSteps) {
  std::mt19937_64 random(3);
  for (int trial = 0; trial < 200; ++trial) {
    std::vector<double> begin, message_s;
    for (int i = 0; i < 6; ++i) {
      begin.push_back(static_cast<double>(random() % 20));
      message_s.push_back(static_cast<double>(random() % 5));
    }
    std::vector<double> left = message_s;
    double end = 0;
    for (int now = 0; now < 100; ++now) {  // each second of the link goes to whoever began first
      std::size_t best = left.size();
      for (std::size_t i = 0; i < left.size(); ++i) {
        if (left[i] > 0 && begin[i] <= now && (best == left.size() || begin[i] < begin[best])) best = i;
      }
      if (best == left.size()) continue;
      left[best] -= 1;
      end = now + 1;
    }
    EXPECT_EQ(exchange_end_s(0, 0, begin, message_s), end);
    EXPECT_EQ(exchange_busy_s(0, 0, begin, message_s), std::accumulate(message_s.begin(), message_s.end(), 0.0));
  }
}

}  // namespace
}  // namespace moebius::policy
