// SPDX-License-Identifier: Apache-2.0
#include "policy/memory_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t mib = 1024 * 1024;

std::vector<RankMemory> four_ranks_on_two_nodes() {
  std::vector<RankMemory> ranks;
  for (int r = 0; r < 4; ++r) {
    ranks.push_back({.rank = RankId(r), .node_idx = r / 2, .own = {{"experts", (r + 1) * 10 * mib, "use more ranks"}, {"program", mib, ""}},
                     .shared = {}});
    if (r != 3) ranks.back().shared = {{"attention", 100 * mib, "use a smaller model"}};
  }
  return ranks;
}

TEST(MemoryPlan, SharedNeedsCountOnceANodeAndOthersOnceARank) {
  const std::vector<NodeMemory> nodes{{200 * mib, "a"}, {300 * mib, "b"}};
  const auto plans = plan_memory(four_ranks_on_two_nodes(), nodes);
  ASSERT_EQ(plans.size(), 2U);
  EXPECT_EQ(plans[0].needed_bytes, (100 + 10 + 20 + 2) * mib);
  EXPECT_EQ(plans[1].needed_bytes, (100 + 30 + 40 + 2) * mib);
  EXPECT_EQ(plans[1].num_ranks, 2);
  ASSERT_EQ(plans[1].needs.size(), 3U);
  EXPECT_EQ(plans[1].needs[0].kind, "attention");
  EXPECT_EQ(plans[1].needs[1].bytes, 70 * mib);
  EXPECT_EQ(plans[1].needs[2].kind, "program");
  EXPECT_FALSE(refusal(plans));
  EXPECT_THAT(describe(plans), HasSubstr("memory of node 1 with 2 ranks: 172.0 MiB needed, 300.0 MiB available (b): fits"));
}

TEST(MemoryPlan, TheNodeThatLacksMostIsNamedWithWhatNeedsHowMuch) {
  const auto ranks = four_ranks_on_two_nodes();
  const auto exact = plan_memory(ranks, std::vector<NodeMemory>{{132 * mib, "a"}, {172 * mib, "b"}});
  EXPECT_FALSE(refusal(exact));  // exactly enough is enough
  const auto one = plan_memory(ranks, std::vector<NodeMemory>{{132 * mib - 1, "a"}, {172 * mib, "b"}});
  EXPECT_THAT(*refusal(one), HasSubstr("node 0"));
  const auto both = plan_memory(ranks, std::vector<NodeMemory>{{131 * mib, "a"}, {50 * mib, "a limit"}});
  EXPECT_EQ(*refusal(both),
            "the job does not fit on node 1 (its 2 ranks need 172.0 MiB: attention 100.0 MiB, experts 70.0 MiB, program 2.0 MiB; there "
            "are 50.0 MiB, a limit) use a smaller model, or use more nodes");
  EXPECT_THAT(describe(both), HasSubstr("does not fit"));
}

TEST(MemoryPlan, HugeSizesStayHuge) {
  constexpr std::int64_t huge = std::int64_t{1} << 62;
  const std::vector<RankMemory> ranks{{.rank = RankId(0), .node_idx = 0, .own = {{"a", huge, ""}, {"b", huge, ""}, {"c", 7, ""}}, .shared = {}}};
  const auto plans = plan_memory(ranks, std::vector<NodeMemory>{{huge - 1, "x"}});
  EXPECT_GE(plans[0].needed_bytes, huge);
  EXPECT_TRUE(refusal(plans));
  EXPECT_THROW(plan_memory(ranks, {}), ContractError);
}

}  // namespace
}  // namespace moebius::policy
