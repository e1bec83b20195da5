// SPDX-License-Identifier: Apache-2.0
#include "policy/claim_order.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <random>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

using Lines = std::vector<std::int64_t>;
using ::testing::ElementsAre;

TEST(ClaimOrder, longest_first_ties_to_the_lower_line) {
  EXPECT_THAT(claim_order(Lines{5, 9, 0, 9, 5, 7}), ElementsAre(1, 3, 5, 0, 4, 2));
  EXPECT_THAT(claim_order(Lines{}), ElementsAre());
}

TEST(ClaimPlan, golden) {
  // Weights with the overhead of 64: 100 (line 2), then seven times 70. Two claimants, so a quarter:
  // left 590, target 147: {2}, {0, 1}; left 350, target 87: {3}, {4}; left 210, target 52: {5}, {6}; {7}
  const ClaimPlan plan(Lines{6, 6, 36, 6, 6, 6, 6, 6}, 2);
  ASSERT_EQ(plan.num_claims(), 7);
  EXPECT_THAT(plan.lines(0), ElementsAre(2));
  EXPECT_THAT(plan.lines(1), ElementsAre(0, 1));
  EXPECT_THAT(plan.lines(2), ElementsAre(3));
  EXPECT_THAT(plan.lines(6), ElementsAre(7));
  EXPECT_TRUE(plan.lines(7).empty());
  EXPECT_TRUE(plan.lines(1'000'000'000'000).empty());
  EXPECT_THROW((void)plan.lines(-1), ContractError);
}

TEST(ClaimPlan, an_empty_input_has_no_claims) {
  const ClaimPlan plan({}, 3);
  EXPECT_EQ(plan.num_claims(), 0);
  EXPECT_TRUE(plan.lines(0).empty());
}

TEST(ClaimPlan, every_line_once_in_order_and_no_span_too_heavy) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    const int num_claimants = 1 + static_cast<int>(random() % 9);
    Lines bytes(random() % 3000);
    for (auto& length : bytes) length = static_cast<std::int64_t>(random() % (random() % 10 == 0 ? 100000 : 300));
    const ClaimPlan plan(bytes, num_claimants);
    const auto weight_of = [&](std::span<const std::int64_t> lines) {
      std::int64_t weight = 0;
      for (const auto line : lines) weight += bytes[line] + ClaimPlan::line_overhead_bytes;
      return weight;
    };
    Lines claimed;
    std::int64_t weight_left = weight_of(claim_order(bytes));
    std::int64_t heaviest = 0;
    for (std::int64_t claim = 0; claim < plan.num_claims(); ++claim) {
      if (claim % num_claimants == 0) heaviest = weight_left / (2 * num_claimants);
      const auto lines = plan.lines(claim);
      ASSERT_FALSE(lines.empty());
      EXPECT_LE(static_cast<std::int64_t>(lines.size()), ClaimPlan::max_span_lines);
      if (lines.size() > 1) {
        EXPECT_LE(weight_of(lines), heaviest);
      }
      weight_left -= weight_of(lines);
      claimed.insert(claimed.end(), lines.begin(), lines.end());
    }
    EXPECT_EQ(claimed, claim_order(bytes));
    if (plan.num_claims() > 0) {
      EXPECT_EQ(plan.lines(plan.num_claims() - 1).size(), 1U);
    }
  }
}

TEST(ClaimPlan, greedy_claimants_end_nearly_together) {
  // Each claimant runs its span and claims the next; time is weight. The last to end is late by at most
  // the longest line, or a few short ones.
  std::mt19937_64 random(3);
  Lines bytes(2000);
  for (auto& length : bytes) length = static_cast<std::int64_t>(50 + random() % 4000);
  for (const int num_claimants : {2, 3, 7, 16}) {
    const ClaimPlan plan(bytes, num_claimants);
    std::vector<std::int64_t> busy_until(static_cast<std::size_t>(num_claimants), 0);
    for (std::int64_t claim = 0; claim < plan.num_claims(); ++claim) {
      auto& first_free = *std::min_element(busy_until.begin(), busy_until.end());
      for (const auto line : plan.lines(claim)) first_free += bytes[line] + ClaimPlan::line_overhead_bytes;
    }
    const auto [first, last] = std::minmax_element(busy_until.begin(), busy_until.end());
    EXPECT_LE(*last - *first, 4064) << num_claimants;
  }
}

}  // namespace
}  // namespace moebius::policy
