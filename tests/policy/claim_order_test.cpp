// SPDX-License-Identifier: Apache-2.0
#include "policy/claim_order.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <random>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

using Lines = std::vector<std::int64_t>;
using Prefixes = std::vector<PrefixKeys>;
using ::testing::ElementsAre;

Lines order_of(const Lines& bytes, const Prefixes& prefixes = {}) { return claim_order({bytes, prefixes}).lines; }

TEST(ClaimOrder, longest_first_ties_to_the_lower_line) {
  EXPECT_THAT(order_of({5, 9, 0, 9, 5, 7}), ElementsAre(1, 3, 5, 0, 4, 2));
  EXPECT_THAT(order_of({5, 9, 0, 9, 5, 7}, Prefixes(6)), ElementsAre(1, 3, 5, 0, 4, 2));
  EXPECT_THAT(order_of({}), ElementsAre());
}

TEST(ClaimOrder, lines_that_begin_alike_stand_together) {
  // Groups by the first key: {0, 2, 4} and {1, 5}, and line 3 alone; their longest lines have 300, 500, 400 bytes.
  const Lines bytes{100, 200, 300, 400, 200, 500};
  const Prefixes prefixes{{7}, {8}, {7}, {}, {7}, {8}};
  const ClaimOrder order = claim_order({bytes, prefixes});
  EXPECT_THAT(order.lines, ElementsAre(5, 1, 3, 2, 4, 0));
  EXPECT_THAT(order.shared_bytes, ElementsAre(0, 64, 0, 0, 64, 64));
}

TEST(ClaimOrder, groups_nest) {
  // All share 64 bytes; {0, 3} and {1, 2} share 256; equal deeper keys under other beginnings mean nothing.
  const Lines bytes{600, 900, 700, 800};
  const Prefixes prefixes{{7, 1, 5}, {7, 2, 5}, {7, 2, 6}, {7, 1, 6}};
  const ClaimOrder order = claim_order({bytes, prefixes});
  EXPECT_THAT(order.lines, ElementsAre(1, 2, 3, 0));
  EXPECT_THAT(order.shared_bytes, ElementsAre(0, 256, 64, 256));
}

TEST(ClaimPlan, golden) {
  // Weights with the overhead of 64: 100 (line 2), then seven times 70. Two claimants, so a quarter:
  // left 590, target 147: {2}, {0, 1}; left 350, target 87: {3}, {4}; left 210, target 52: {5}, {6}; {7}
  const Lines bytes{6, 6, 36, 6, 6, 6, 6, 6};
  const ClaimPlan plan({bytes, {}}, 2);
  ASSERT_EQ(plan.num_claims(), 7);
  EXPECT_THAT(plan.lines(0), ElementsAre(2));
  EXPECT_THAT(plan.lines(1), ElementsAre(0, 1));
  EXPECT_THAT(plan.lines(2), ElementsAre(3));
  EXPECT_THAT(plan.lines(6), ElementsAre(7));
  EXPECT_TRUE(plan.lines(7).empty());
  EXPECT_TRUE(plan.lines(1'000'000'000'000).empty());
  EXPECT_THROW((void)plan.lines(-1), ContractError);
}

TEST(ClaimPlan, a_group_that_fits_into_a_span_is_not_divided) {
  // Weights: line 0 164, lines 1 to 3 164 and twice 100, then 20 times 114; three claimants, so a sixth.
  Lines bytes{100, 100, 100, 100};
  Prefixes prefixes{{}, {7}, {7}, {7}};
  bytes.resize(24, 50);
  prefixes.resize(24);
  const ClaimPlan plan({bytes, prefixes}, 3);
  // Left 2808, target 468: line 0 with the group would be 528, so the group goes to the next span.
  EXPECT_THAT(plan.lines(0), ElementsAre(0));
  EXPECT_THAT(plan.lines(1), ElementsAre(1, 2, 3));
}

TEST(ClaimPlan, an_empty_input_has_no_claims) {
  const ClaimPlan plan({}, 3);
  EXPECT_EQ(plan.num_claims(), 0);
  EXPECT_TRUE(plan.lines(0).empty());
}

/// Half of the lines in groups that share 64 bytes or more.
Prefixes random_prefixes(std::mt19937_64& random, std::size_t num_lines) {
  Prefixes prefixes(num_lines);
  for (PrefixKeys& keys : prefixes) {
    const auto num_levels = random() % 2 == 0 ? 0 : 1 + random() % keys.size();
    for (std::size_t level = 0; level < num_levels; ++level) keys[level] = 1 + static_cast<std::uint32_t>(random() % (level == 0 ? 20 : 3));
  }
  return prefixes;
}

TEST(ClaimPlan, every_line_once_in_order_and_no_span_too_heavy) {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    const int num_claimants = 1 + static_cast<int>(random() % 9);
    Lines bytes(random() % 3000);
    for (auto& length : bytes) length = static_cast<std::int64_t>(random() % (random() % 10 == 0 ? 100000 : 300));
    const Prefixes prefixes = seed % 2 == 0 ? random_prefixes(random, bytes.size()) : Prefixes{};
    const ClaimPlan plan({bytes, prefixes}, num_claimants);
    const ClaimOrder order = claim_order({bytes, prefixes});
    std::size_t place = 0;
    const auto weight_of = [&](std::size_t begin, std::size_t end) {
      std::int64_t weight = 0;
      for (; begin < end; ++begin) weight += bytes[order.lines[begin]] - order.shared_bytes[begin] + ClaimPlan::line_overhead_bytes;
      return weight;
    };
    std::int64_t heaviest = 0;
    for (std::int64_t claim = 0; claim < plan.num_claims(); ++claim) {
      if (claim % num_claimants == 0) heaviest = weight_of(place, bytes.size()) / (2 * num_claimants);
      const auto lines = plan.lines(claim);
      ASSERT_FALSE(lines.empty());
      EXPECT_LE(static_cast<std::int64_t>(lines.size()), ClaimPlan::max_span_lines);
      if (lines.size() > 1) {
        EXPECT_LE(weight_of(place, place + lines.size()), heaviest);
      }
      for (const auto line : lines) ASSERT_EQ(line, order.lines[place++]);
    }
    EXPECT_EQ(place, bytes.size());
    if (plan.num_claims() > 0 && prefixes.empty()) {
      EXPECT_EQ(plan.lines(plan.num_claims() - 1).size(), 1U);
    }
  }
}

TEST(ClaimOrder, is_a_permutation_that_keeps_groups_whole) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    std::mt19937_64 random(seed);
    Lines bytes(random() % 500);
    for (auto& length : bytes) length = static_cast<std::int64_t>(random() % 5000);
    const Prefixes prefixes = random_prefixes(random, bytes.size());
    const ClaimOrder order = claim_order({bytes, prefixes});
    Lines sorted = order.lines;
    std::ranges::sort(sorted);
    Lines all(bytes.size());
    std::iota(all.begin(), all.end(), std::int64_t{0});
    ASSERT_EQ(sorted, all) << "seed " << seed;
    // Of every set of lines with the same first keys, the places are consecutive.
    for (std::size_t level = 0; level < prefix_key_bytes.size(); ++level) {
      std::map<std::vector<std::uint32_t>, std::vector<std::size_t>> places;
      for (std::size_t place = 0; place < order.lines.size(); ++place) {
        const PrefixKeys& keys = prefixes[static_cast<std::size_t>(order.lines[place])];
        if (keys[level] != 0) places[{keys.begin(), keys.begin() + static_cast<std::ptrdiff_t>(level) + 1}].push_back(place);
      }
      for (const auto& [keys, of_group] : places) ASSERT_EQ(of_group.back() - of_group.front() + 1, of_group.size()) << "seed " << seed;
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
    const ClaimPlan plan({bytes, {}}, num_claimants);
    std::vector<std::int64_t> busy_until(static_cast<std::size_t>(num_claimants), 0);
    for (std::int64_t claim = 0; claim < plan.num_claims(); ++claim) {
      auto& first_free = *std::min_element(busy_until.begin(), busy_until.end());
      for (const auto line : plan.lines(claim)) first_free += bytes[line] + ClaimPlan::line_overhead_bytes;
    }
    const auto [first, last] = std::minmax_element(busy_until.begin(), busy_until.end());
    EXPECT_LE(*last - *first, 4064) << num_claimants;
  }
}

TEST(ClaimPlan, claimants_compute_a_prefix_a_few_times_and_end_nearly_together) {
  // 40 groups of 25 lines: 2000 of 2200 bytes are shared. What a claimant has not seen costs it in full.
  Lines bytes(1000);
  Prefixes prefixes(1000);
  std::mt19937_64 random(4);
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    bytes[i] = static_cast<std::int64_t>(2100 + random() % 200);
    const auto group = 1 + static_cast<std::uint32_t>(random() % 40);
    prefixes[i] = {group, group, group, 0};
  }
  for (const int num_claimants : {2, 7}) {
    const ClaimPlan plan({bytes, prefixes}, num_claimants);
    std::vector<std::int64_t> busy_until(static_cast<std::size_t>(num_claimants), 0);
    std::vector<std::map<std::uint32_t, int>> seen(busy_until.size());
    std::size_t num_computed = 0;
    for (std::int64_t claim = 0; claim < plan.num_claims(); ++claim) {
      const auto claimant = static_cast<std::size_t>(std::min_element(busy_until.begin(), busy_until.end()) - busy_until.begin());
      for (const auto line : plan.lines(claim)) {
        const bool is_new = seen[claimant][prefixes[line][0]]++ == 0;
        num_computed += is_new ? 1 : 0;
        busy_until[claimant] += bytes[line] - (is_new ? 0 : 2000) + ClaimPlan::line_overhead_bytes;
      }
    }
    EXPECT_GE(num_computed, 40U);
    EXPECT_LE(num_computed, 40U + 12U * static_cast<std::size_t>(num_claimants)) << num_claimants;
    const auto [first, last] = std::minmax_element(busy_until.begin(), busy_until.end());
    EXPECT_LE(*last - *first, 2 * 2364) << num_claimants;
  }
}

}  // namespace
}  // namespace moebius::policy
