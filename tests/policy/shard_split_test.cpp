// SPDX-License-Identifier: Apache-2.0
#include "policy/shard_split.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

namespace moebius::policy {
namespace {

std::int64_t bytes_of(const std::vector<std::int64_t>& weights, const RequestRange& range) {
  return std::accumulate(weights.begin() + static_cast<std::ptrdiff_t>(range.first), weights.begin() + static_cast<std::ptrdiff_t>(range.last),
                         std::int64_t{0});
}

TEST(ShardSplitTest, EveryRequestIsInOneShardAndNoShardIsFarFromItsShare) {
  std::mt19937 random(5);
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<std::int64_t> weights(random() % 200);
    for (auto& weight : weights) weight = 1 + random() % 1000;
    const int count = 1 + static_cast<int>(random() % 40);
    const std::int64_t total = std::accumulate(weights.begin(), weights.end(), std::int64_t{0});
    std::size_t next = 0;
    for (int idx = 0; idx < count; ++idx) {
      const RequestRange range = shard_range(weights, {idx, count});
      ASSERT_EQ(range.first, next);
      ASSERT_LE(range.first, range.last);
      next = range.last;
      EXPECT_LE(std::abs(bytes_of(weights, range) - total / count), 1000) << "trial " << trial << " shard " << idx;
    }
    ASSERT_EQ(next, weights.size());
  }
}

TEST(ShardSplitTest, LongRequestsCountForMore) {
  std::vector<std::int64_t> weights(20, 1);
  std::fill(weights.begin(), weights.begin() + 10, 99);
  EXPECT_EQ(shard_range(weights, {0, 2}), (RequestRange{0, 6}));
  EXPECT_EQ(shard_range(weights, {1, 2}), (RequestRange{6, 20}));
}

TEST(ShardSplitTest, MoreShardsThanRequestsLeaveSomeEmpty) {
  const std::vector<std::int64_t> weights{7, 7};
  std::size_t num_requests = 0;
  for (int idx = 0; idx < 5; ++idx) {
    const RequestRange range = shard_range(weights, {idx, 5});
    num_requests += range.last - range.first;
  }
  EXPECT_EQ(num_requests, 2U);
  EXPECT_EQ(shard_range({}, {1, 3}), (RequestRange{0, 0}));
}

TEST(ShardSplitTest, HugeInputsDoNotOverflow) {
  const std::vector<std::int64_t> weights(4, std::int64_t{1} << 60);
  for (int idx = 0; idx < 4; ++idx) {
    const auto first = static_cast<std::size_t>(idx);
    EXPECT_EQ(shard_range(weights, {idx, 4}), (RequestRange{first, first + 1}));
  }
}

}  // namespace
}  // namespace moebius::policy
