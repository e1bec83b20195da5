// SPDX-License-Identifier: Apache-2.0
#include "policy/layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/failure.hpp"

namespace moebius::policy {
namespace {

using Counts = std::pair<std::size_t, std::size_t>;

/// (attention, expert) ranks of a layout whose roles cover 0..n-1 in order, each exactly once.
Counts split_counts(int num_ranks, int attention_ranks, int expert_ranks) {
  const RankLayout layout = decide_layout(num_ranks, LayoutMode::split, attention_ranks, expert_ranks);
  int next = 0;
  for (const RankId rank : layout.attention_ranks) EXPECT_EQ(rank, RankId(next++));
  for (const RankId rank : layout.expert_ranks) EXPECT_EQ(rank, RankId(next++));
  EXPECT_EQ(next, num_ranks);
  EXPECT_FALSE(layout.colocated());
  return {layout.attention_ranks.size(), layout.expert_ranks.size()};
}

std::string refusal(int num_ranks, LayoutMode mode, int attention_ranks, int expert_ranks) {
  try {
    decide_layout(num_ranks, mode, attention_ranks, expert_ranks);
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), ExitCode::bad_usage);
    return failure.what();
  }
  return "";
}

TEST(Layout, split_gives_attention_half_of_the_ranks_rounded_up) {
  const std::vector<Counts> expected = {{1, 1}, {2, 1}, {2, 2}, {3, 2}, {3, 3}, {4, 3}, {4, 4}, {5, 4},
                                        {5, 5}, {6, 5}, {6, 6}, {7, 6}, {7, 7}, {8, 7}, {8, 8}};
  for (int n = 2; n <= 16; ++n) EXPECT_EQ(split_counts(n, 0, 0), expected[n - 2]) << n;
}

TEST(Layout, split_fills_in_one_open_count_and_takes_both_as_given) {
  for (int n = 2; n <= 16; ++n) {
    for (int a = 1; a < n; ++a) {
      const Counts expected(a, n - a);
      EXPECT_EQ(split_counts(n, a, 0), expected);
      EXPECT_EQ(split_counts(n, 0, n - a), expected);
      EXPECT_EQ(split_counts(n, a, n - a), expected);
    }
  }
}

TEST(Layout, one_rank_holds_both_roles_whatever_the_mode) {
  for (const auto mode : {LayoutMode::split, LayoutMode::colocated}) {
    for (const int count : {0, 1}) {
      const RankLayout layout = decide_layout(1, mode, count, count);
      EXPECT_TRUE(layout.colocated());
      EXPECT_EQ(layout.attention_ranks, std::vector<RankId>{RankId(0)});
    }
  }
  EXPECT_THAT(refusal(1, LayoutMode::split, 2, 0), ::testing::HasSubstr("started with 1 rank,"));
  EXPECT_NE(refusal(1, LayoutMode::split, 1, 2), "");
}

TEST(Layout, colocated_uses_every_rank_for_both) {
  for (int n = 1; n <= 16; ++n) {
    const RankLayout layout = decide_layout(n, LayoutMode::colocated, 0, n);
    EXPECT_TRUE(layout.colocated());
    ASSERT_EQ(layout.expert_ranks.size(), static_cast<std::size_t>(n));
    for (int r = 0; r < n; ++r) EXPECT_EQ(layout.attention_ranks[r], RankId(r));
  }
  EXPECT_THAT(refusal(4, LayoutMode::colocated, 2, 2), ::testing::HasSubstr("layout.mode is not split"));
}

TEST(Layout, replicated_ranks_exchange_rows_with_nobody) {
  for (int n = 1; n <= 5; ++n) {
    const RankLayout layout = decide_layout(n, LayoutMode::replicate, n, 0);
    EXPECT_TRUE(layout.replicated && layout.colocated());
    EXPECT_EQ(layout.attention_ranks.size(), static_cast<std::size_t>(n));
    for (int r = 0; r < n; ++r) {
      EXPECT_EQ(exchange_group(layout, RankId(r)).attention_ranks, std::vector{RankId(r)});
      EXPECT_EQ(exchange_group(layout, RankId(r)).expert_ranks, std::vector{RankId(r)});
    }
  }
  const RankLayout split = decide_layout(3, LayoutMode::split, 2, 1);
  EXPECT_EQ(exchange_group(split, RankId(2)).attention_ranks, split.attention_ranks);
  EXPECT_EQ(exchange_group(split, RankId(2)).expert_ranks, split.expert_ranks);
}

TEST(Layout, counts_that_do_not_add_up_are_refused_with_the_keys_and_numbers) {
  const std::string message = refusal(4, LayoutMode::split, 3, 2);
  for (const char* part : {"layout.attention_ranks = 3", "layout.expert_ranks = 2", "4 ranks", "add up"}) {
    EXPECT_THAT(message, ::testing::HasSubstr(part));
  }
  EXPECT_THAT(refusal(4, LayoutMode::split, 1, 2), ::testing::HasSubstr("add up"));
  EXPECT_THAT(refusal(4, LayoutMode::split, 4, 0), ::testing::HasSubstr("at least one"));
  EXPECT_THAT(refusal(4, LayoutMode::split, 0, 9), ::testing::HasSubstr("at least one"));
  EXPECT_THAT(refusal(4, LayoutMode::split, -1, 0), ::testing::HasSubstr("negative"));
  const int huge = std::numeric_limits<int>::max();
  EXPECT_THAT(refusal(4, LayoutMode::split, huge, huge), ::testing::HasSubstr("add up"));
}

}  // namespace
}  // namespace moebius::policy
