// SPDX-License-Identifier: Apache-2.0
// What plans expect of a capacity, beside the capacity itself on random routing.
#include "policy/plan_routing.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "policy/capacity.hpp"

namespace moebius::policy {
namespace {

constexpr int num_experts = 32, k = 4, num_tokens = 256, num_ranks = 4;

struct Measured {
  double mean = 0, added = 0, busiest = 0;  // as multiples of what the router chose for a rank in the mean
  std::vector<double> loads = std::vector<double>(num_experts, 0.0);
};

/// Calls of all ranks, each with its own experts as local ones. Experts are as popular as (1 + id)^-skew.
Measured measure(const Job::Capacity& options, double skew) {
  std::mt19937_64 random(20261126);
  Measured measured;
  std::vector<double> of_rank(num_ranks, 0.0);
  double added = 0, kept = 0;
  constexpr int rounds = 5;
  for (int call = 0; call < rounds * num_ranks; ++call) {
    CapacityGroups groups{.group_of = {}, .local = {}, .num_groups = num_ranks};
    for (int e = 0; e < num_experts; ++e) {
      groups.group_of.push_back(e * num_ranks / num_experts);
      groups.local.push_back(groups.group_of.back() == call % num_ranks ? 1 : 0);
    }
    Capacity capacity(options, WeightRule::as_they_are, groups, 1);
    std::vector<std::int32_t> ids;
    std::vector<float> weights, scores;
    for (int token = 0; token < num_tokens; ++token) {
      std::vector<std::pair<double, int>> order;
      for (int e = 0; e < num_experts; ++e) order.emplace_back(std::exponential_distribution<double>(std::pow(1 + e, -skew))(random), e);
      for (const auto& [time, e] : order) scores.push_back(static_cast<float>(std::exp(-time)));
      std::ranges::sort(order);
      std::vector<std::int32_t> chosen;
      for (int i = 0; i < k; ++i) chosen.push_back(order[static_cast<std::size_t>(i)].second);
      std::ranges::sort(chosen);
      for (const std::int32_t e : chosen) {
        measured.loads[static_cast<std::size_t>(e)] += 1;
        ids.push_back(e);
        weights.push_back(scores[scores.size() - num_experts + static_cast<std::size_t>(e)]);
      }
    }
    const std::vector<std::uint8_t> counted(num_tokens, 1);
    const auto result = capacity.cut(0, {num_experts, k, ids, weights, scores, counted});
    const CapacityCounters& counters = capacity.counters();
    added += static_cast<double>(counters.added);
    kept += static_cast<double>(counters.kept);
    for (const std::int32_t e : result.ids) of_rank[static_cast<std::size_t>(e * num_ranks / num_experts)] += 1;
  }
  const double all = rounds * num_ranks * num_tokens * k;
  const bool reroutes = options.method == CapacityMethod::reroute;
  measured.mean = (kept + (reroutes ? added : 0)) / all;
  measured.added = reroutes ? 0 : added / all;
  measured.busiest = std::ranges::max(of_rank) * num_ranks / all;
  return measured;
}

TEST(PlanRouting, ACapacityLeavesWhatItLeavesOfRandomRouting) {
  for (const double skew : {0.0, 0.7}) {
    for (const CapacityMethod method : {CapacityMethod::drop, CapacityMethod::expanded_drop, CapacityMethod::reroute}) {
      for (const CapacityScope scope : {CapacityScope::expert, CapacityScope::device}) {
        for (const double gamma : {1.0, 1.3}) {
          if (method == CapacityMethod::reroute && scope == CapacityScope::device) continue;
          const Job::Capacity options{.method = method, .gamma = gamma, .layer_gamma = {}, .scope = scope};
          const Measured measured = measure(options, skew);
          const BusiestRank expected = linear_imbalance({measured.loads}, num_ranks, options, {num_tokens, k});
          SCOPED_TRACE(::testing::Message() << "skew " << skew << ", method " << static_cast<int>(method) << ", scope " << static_cast<int>(scope) << ", gamma " << gamma);
          EXPECT_NEAR(expected.mean, measured.mean, 0.02);
          EXPECT_NEAR(expected.computed(expected.mean, num_ranks) - expected.mean, measured.added, 0.03);
          EXPECT_NEAR(expected.computed(expected.of_layer, num_ranks), measured.busiest, 0.04);
        }
      }
    }
  }
}

TEST(PlanRouting, FewRowsAreNotCut) {
  const Job::Capacity options{.method = CapacityMethod::drop, .gamma = 1.0, .layer_gamma = {}};
  const std::vector<std::vector<double>> even{std::vector<double>(num_experts, 1.0)};
  EXPECT_EQ(linear_imbalance(even, num_ranks, options, {100, k}).mean, 1);
  EXPECT_LT(linear_imbalance(even, num_ranks, options, {1000, k}).mean, 0.99);
  EXPECT_EQ(linear_imbalance(even, num_ranks).mean, 1);
}

}  // namespace
}  // namespace moebius::policy
