// SPDX-License-Identifier: Apache-2.0
#include "policy/capacity.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

constexpr CapacityMetric all_metrics[] = {CapacityMetric::score, CapacityMetric::order, CapacityMetric::reverse, CapacityMetric::random};
constexpr CapacityMethod all_methods[] = {CapacityMethod::drop, CapacityMethod::expanded_drop, CapacityMethod::one_shot, CapacityMethod::reroute};

/// A micro-batch as a router would leave it, with skewed experts.
struct Batch {
  Batch(std::uint64_t seed, int tokens, int experts, int k) : num_experts(experts), experts_per_token(k), counted(static_cast<std::size_t>(tokens), 1) {
    std::mt19937_64 random(seed);
    std::normal_distribution<float> noise(0.0F, 1.0F);
    scores.resize(static_cast<std::size_t>(tokens * experts));
    for (int t = 0; t < tokens; ++t) {
      std::vector<float> logits;
      for (int e = 0; e < experts; ++e) logits.push_back(noise(random) + 2.0F / static_cast<float>(1 + e));
      softmax_scores(logits, std::span(scores).subspan(static_cast<std::size_t>(t * experts), static_cast<std::size_t>(experts)));
    }
    choose();
  }
  void choose() {
    ids.clear();
    weights.clear();
    for (std::size_t t = 0; t < counted.size(); ++t) {
      const float* row = scores.data() + t * static_cast<std::size_t>(num_experts);
      std::vector<std::int32_t> order(static_cast<std::size_t>(num_experts));
      std::iota(order.begin(), order.end(), 0);
      std::ranges::stable_sort(order, [&](int a, int b) { return row[a] > row[b]; });
      order.resize(static_cast<std::size_t>(experts_per_token));
      std::ranges::sort(order);
      float sum = 0;
      for (const int e : order) sum += row[e];
      for (const int e : order) {
        ids.push_back(e);
        weights.push_back(row[e] / sum);
      }
    }
  }
  [[nodiscard]] RoutedBatch view() const { return {num_experts, experts_per_token, ids, weights, scores, counted}; }
  int num_experts, experts_per_token;
  std::vector<std::int32_t> ids;
  std::vector<float> weights, scores;
  std::vector<std::uint8_t> counted;
};

/// Experts in equal runs on groups; the own group is the second one.
CapacityGroups groups_of(int num_experts, int num_groups) {
  CapacityGroups groups{.group_of = {}, .local = {}, .num_groups = num_groups};
  for (int e = 0; e < num_experts; ++e) {
    groups.group_of.push_back(e * num_groups / num_experts);
    groups.local.push_back(groups.group_of.back() == num_groups / 2 ? 1 : 0);
  }
  return groups;
}

Job::Capacity options(CapacityMethod method, double gamma, CapacityMetric metric = CapacityMetric::score, CapacityScope scope = CapacityScope::expert) {
  return {.method = method, .gamma = gamma, .layer_gamma = {}, .metric = metric, .scope = scope, .phase = CapacityPhase::all, .min_mean_load = 0, .rounds = 2};
}

using Kept = std::map<std::pair<int, int>, float>;  // (token, expert) -> weight

Kept cut(const Batch& batch, const Job::Capacity& rule, WeightRule weights = WeightRule::renormalise, std::uint64_t seed = 1, CapacityCounters* counters = nullptr) {
  Capacity capacity(rule, weights, groups_of(batch.num_experts, 4), seed);
  const auto result = capacity.cut(0, batch.view());
  Kept kept;
  for (std::size_t t = 0; t < batch.counted.size(); ++t) {
    for (std::size_t i = result.first[t]; i < result.first[t + 1]; ++i) {
      EXPECT_TRUE(i == result.first[t] || result.ids[i - 1] < result.ids[i]) << "experts of a token ascend";
      kept[{static_cast<int>(t), result.ids[i]}] = result.weights[i];
    }
    EXPECT_LE(result.first[t + 1] - result.first[t], static_cast<std::size_t>(Capacity::most_pairs(rule, batch.experts_per_token, batch.num_experts, batch.num_experts / 4)));
  }
  if (counters != nullptr) *counters = capacity.counters();
  return kept;
}

std::set<std::pair<int, int>> keys(const Kept& kept) {
  std::set<std::pair<int, int>> result;
  for (const auto& [key, weight] : kept) result.insert(key);
  return result;
}

std::set<std::pair<int, int>> chosen(const Batch& batch) {
  std::set<std::pair<int, int>> result;
  for (std::size_t i = 0; i < batch.ids.size(); ++i) result.insert({static_cast<int>(i) / batch.experts_per_token, batch.ids[i]});
  return result;
}

std::map<int, std::int64_t> load(const Kept& kept) {
  std::map<int, std::int64_t> loads;
  for (const auto& [key, weight] : kept) ++loads[key.second];
  return loads;
}

/// Token Drop by its definition: of each expert, all of its pairs, sorted, the first C.
std::set<std::pair<int, int>> drop_by_definition(const Batch& batch, std::int64_t most, CapacityMetric metric) {
  std::set<std::pair<int, int>> kept;
  for (int e = 0; e < batch.num_experts; ++e) {
    std::vector<std::pair<double, int>> ranked;  // smaller stays
    for (std::size_t i = 0; i < batch.ids.size(); ++i) {
      if (batch.ids[i] != e) continue;
      const int token = static_cast<int>(i) / batch.experts_per_token;
      const double by_token = metric == CapacityMetric::order ? token : -token;
      ranked.emplace_back(metric == CapacityMetric::score ? -static_cast<double>(batch.weights[i]) : by_token, token);
    }
    std::ranges::sort(ranked);
    for (std::size_t i = 0; i < ranked.size() && static_cast<std::int64_t>(i) < most; ++i) kept.insert({ranked[i].second, e});
  }
  return kept;
}

TEST(Capacity, drop_is_that_of_the_definition) {
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    const Batch batch(seed, 5 + static_cast<int>(seed) * 3, 16, 1 + static_cast<int>(seed % 4));
    for (const double gamma : {0.5, 1.0, 1.25, 2.0}) {
      for (const CapacityMetric metric : {CapacityMetric::score, CapacityMetric::order, CapacityMetric::reverse}) {
        const auto rule = options(CapacityMethod::drop, gamma, metric);
        const std::int64_t most = Capacity(rule, WeightRule::as_they_are, groups_of(16, 4), 0)
                                      .limit(0, static_cast<std::int64_t>(batch.counted.size()), batch.experts_per_token, 16);
        EXPECT_EQ(most, std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(gamma * static_cast<double>(batch.ids.size()) / 16))));
        EXPECT_EQ(keys(cut(batch, rule)), drop_by_definition(batch, most, metric)) << seed << " " << gamma << " " << to_string(metric);
      }
    }
  }
}

TEST(Capacity, no_expert_or_device_gets_more_than_its_capacity_and_counters_add_up) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Batch batch(seed, 64, 16, 4);
    for (const CapacityMethod method : all_methods) {
      for (const CapacityMetric metric : all_metrics) {
        for (const CapacityScope scope : {CapacityScope::expert, CapacityScope::device}) {
          SCOPED_TRACE(::testing::Message() << to_string(method) << " " << to_string(metric) << " " << to_string(scope));
          CapacityCounters counters;
          const Kept kept = cut(batch, options(method, 1.0, metric, scope), WeightRule::renormalise, 1, &counters);
          std::map<int, std::int64_t> loads;
          for (const auto& [expert, rows] : load(kept)) loads[scope == CapacityScope::expert ? expert : expert / 4] += rows;
          for (const auto& [bin, rows] : loads) EXPECT_LE(rows, scope == CapacityScope::expert ? 16 : 64);
          EXPECT_EQ(counters.kept + counters.added, static_cast<std::int64_t>(kept.size()));
          EXPECT_EQ(counters.kept + counters.dropped, 64 * 4);
          EXPECT_EQ(counters.cut, 1);
          const auto original = chosen(batch);
          EXPECT_EQ(std::ranges::count_if(kept, [&](const auto& pair) { return original.contains(pair.first); }), counters.kept);
          EXPECT_EQ(cut(batch, options(method, 1.0, metric, scope)), kept) << "not deterministic";
        }
      }
    }
  }
}

TEST(Capacity, what_is_under_capacity_and_what_a_large_gamma_leaves_is_as_without_to_the_bit) {
  const Batch batch(3, 50, 16, 4);
  Kept without;
  for (std::size_t i = 0; i < batch.ids.size(); ++i) without[{static_cast<int>(i) / 4, batch.ids[i]}] = batch.weights[i];
  for (const CapacityMethod method : {CapacityMethod::drop, CapacityMethod::reroute}) {
    EXPECT_EQ(cut(batch, options(method, 4.0)), without) << "gamma = E / k";
    auto small = options(method, 0.5);
    small.min_mean_load = 12.6;  // 50 * 4 / 16 = 12.5
    EXPECT_EQ(cut(batch, small), without);
    small.min_mean_load = 12.5;
    EXPECT_NE(cut(batch, small), without);
  }
  // An expert under capacity loses nothing, and a token that lost nothing keeps its weights.
  const Kept kept = cut(batch, options(CapacityMethod::drop, 1.0));
  const auto before = load(without), after = load(kept);
  for (const auto& [expert, rows] : before) {
    if (rows <= 13) { EXPECT_EQ(after.at(expert), rows); }
  }
  for (int t = 0; t < 50; ++t) {
    bool whole = true;
    for (int k_idx = 0; k_idx < 4; ++k_idx) whole = whole && kept.contains({t, batch.ids[static_cast<std::size_t>(t * 4 + k_idx)]});
    if (!whole) continue;
    for (int k_idx = 0; k_idx < 4; ++k_idx) {
      const std::pair key(t, batch.ids[static_cast<std::size_t>(t * 4 + k_idx)]);
      EXPECT_EQ(std::bit_cast<std::uint32_t>(kept.at(key)), std::bit_cast<std::uint32_t>(without.at(key)));
    }
  }
}

TEST(Capacity, kept_sets_nest_in_gamma) {
  const Batch batch(5, 80, 16, 4);
  for (const CapacityMetric metric : all_metrics) {
    std::set<std::pair<int, int>> last;
    for (const double gamma : {0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0}) {
      const auto kept = keys(cut(batch, options(CapacityMethod::drop, gamma, metric)));
      EXPECT_TRUE(std::ranges::includes(kept, last)) << gamma << " " << to_string(metric);
      last = kept;
    }
    EXPECT_EQ(last, chosen(batch));
  }
}

TEST(Capacity, by_score_permuted_tokens_keep_the_permuted_pairs) {
  const Batch batch(7, 40, 16, 4);
  std::vector<int> order(40);
  std::iota(order.begin(), order.end(), 0);
  std::mt19937_64 random(1);
  std::ranges::shuffle(order, random);
  Batch permuted = batch;
  for (std::size_t t = 0; t < 40; ++t) {
    std::copy_n(batch.scores.begin() + order[t] * 16, 16, permuted.scores.begin() + static_cast<std::ptrdiff_t>(t) * 16);
  }
  permuted.choose();
  for (const CapacityMethod method : all_methods) {
    const Kept straight = cut(batch, options(method, 1.0));
    Kept back;
    for (const auto& [key, weight] : cut(permuted, options(method, 1.0))) back[{order[static_cast<std::size_t>(key.first)], key.second}] = weight;
    if (method != CapacityMethod::reroute) { EXPECT_EQ(back, straight) << to_string(method); }  // who is rerouted first takes the room
  }
}

TEST(Capacity, expanded_drop_adds_to_drop_and_to_local_experts_alone) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Batch batch(seed, 64, 16, 4);
    const CapacityGroups groups = groups_of(16, 4);
    const auto dropped = keys(cut(batch, options(CapacityMethod::drop, 1.0)));
    const auto expanded = keys(cut(batch, options(CapacityMethod::expanded_drop, 1.0)));
    const auto one_shot = keys(cut(batch, options(CapacityMethod::one_shot, 1.0)));
    const auto original = chosen(batch);
    EXPECT_TRUE(std::ranges::includes(expanded, dropped));
    EXPECT_GT(expanded.size(), dropped.size());
    std::map<int, int> in_expert;
    for (const auto& key : expanded) ++in_expert[key.second];
    for (const auto* kept : {&expanded, &one_shot}) {
      for (const auto& key : *kept) {
        EXPECT_TRUE(original.contains(key) || groups.local[static_cast<std::size_t>(key.second)] == 1) << "no extra bytes to other ranks";
      }
    }
    for (int e = 0; e < 16; ++e) {
      EXPECT_TRUE(groups.local[static_cast<std::size_t>(e)] == 0 || in_expert[e] == 16) << "room of local experts is used";
    }
    // The best-scoring of those that had not chosen it, and no other.
    for (int e = 8; e < 12; ++e) {
      float worst_added = 2;
      for (const auto& key : expanded) {
        if (key.second == e && !original.contains(key)) worst_added = std::min(worst_added, batch.scores[static_cast<std::size_t>(key.first * 16 + e)]);
      }
      for (int t = 0; t < 64; ++t) {
        const std::pair key(t, e);
        if (original.contains(key) || expanded.contains(key)) continue;
        EXPECT_LE(batch.scores[static_cast<std::size_t>(t * 16 + e)], worst_added);
      }
    }
  }
}

TEST(Capacity, one_shot_ranks_all_pairs_of_an_expert_by_score) {
  const Batch batch(9, 64, 16, 4);
  const auto kept = keys(cut(batch, options(CapacityMethod::one_shot, 1.0)));
  const auto original = chosen(batch);
  for (int e = 0; e < 16; ++e) {
    std::vector<std::pair<float, int>> ranked;
    for (int t = 0; t < 64; ++t) {
      if ((e >= 8 && e < 12) || original.contains({t, e})) ranked.emplace_back(-batch.scores[static_cast<std::size_t>(t * 16 + e)], t);
    }
    std::ranges::sort(ranked);
    for (std::size_t i = 0; i < ranked.size(); ++i) EXPECT_EQ(kept.contains({ranked[i].second, e}), i < 16) << e << " " << i;
  }
}

TEST(Capacity, reroute_moves_dropped_pairs_to_the_next_best_expert_with_room) {
  // Two tokens want expert 0, which has room for one; the second token's next best, 1, is full, then 2.
  Batch batch(1, 4, 4, 1);
  batch.scores = {0.9F, 0.05F, 0.03F, 0.02F, 0.8F, 0.1F, 0.06F, 0.04F, 0.1F, 0.7F, 0.1F, 0.1F, 0.1F, 0.1F, 0.1F, 0.7F};
  batch.choose();
  auto rule = options(CapacityMethod::reroute, 1.0);
  rule.rounds = 1;
  EXPECT_EQ(keys(cut(batch, rule)), (std::set<std::pair<int, int>>{{0, 0}, {2, 1}, {3, 3}}));
  rule.rounds = 2;
  EXPECT_EQ(keys(cut(batch, rule)), (std::set<std::pair<int, int>>{{0, 0}, {1, 2}, {2, 1}, {3, 3}}));
}

TEST(Capacity, weights_follow_the_convention_of_the_model) {
  const Batch batch(13, 64, 16, 4);
  for (const CapacityMethod method : all_methods) {
    const Kept as_they_are = cut(batch, options(method, 0.75), WeightRule::as_they_are);
    const Kept renormalised = cut(batch, options(method, 0.75), WeightRule::renormalise);
    EXPECT_EQ(keys(as_they_are), keys(renormalised));
    std::map<int, double> sums;
    for (const auto& [key, weight] : renormalised) {
      EXPECT_TRUE(std::isfinite(weight) && weight >= 0);
      sums[key.first] += weight;
    }
    for (const auto& [token, sum] : sums) EXPECT_NEAR(sum, 1.0, 1e-5) << token;
    for (std::size_t i = 0; i < batch.ids.size(); ++i) {
      const auto found = as_they_are.find({static_cast<int>(i) / 4, batch.ids[i]});
      EXPECT_TRUE(found == as_they_are.end() || found->second == batch.weights[i]);
    }
    // A weight of another expert is to the router's weights as the scores are.
    for (const auto& [key, weight] : as_they_are) {
      const float* scores = batch.scores.data() + key.first * 16;
      double sum = 0;
      for (int k_idx = 0; k_idx < 4; ++k_idx) sum += scores[batch.ids[static_cast<std::size_t>(key.first * 4 + k_idx)]];
      EXPECT_NEAR(weight, scores[key.second] / sum, 1e-5);
    }
  }
}

TEST(Capacity, a_token_may_lose_all_its_experts) {
  const Batch batch(21, 64, 16, 2);
  const Kept kept = cut(batch, options(CapacityMethod::drop, 0.25));
  std::set<int> tokens;
  for (const auto& [key, weight] : kept) tokens.insert(key.first);
  EXPECT_LT(tokens.size(), 64U);
  EXPECT_LE(kept.size(), 2U * 16);
}

TEST(Capacity, weights_of_zero_stay_numbers) {
  Batch batch(21, 64, 16, 2);
  std::ranges::fill(batch.weights, 0.0F);
  for (const auto& [key, weight] : cut(batch, options(CapacityMethod::drop, 0.25))) EXPECT_EQ(weight, 0.0F);
}

TEST(Capacity, rows_of_another_phase_are_neither_counted_nor_cut) {
  Batch batch(15, 64, 16, 4);
  for (std::size_t t = 32; t < 64; ++t) batch.counted[t] = 0;
  CapacityCounters counters;
  const Kept kept = cut(batch, options(CapacityMethod::drop, 0.5), WeightRule::renormalise, 1, &counters);
  std::map<int, int> counted_load;
  int others = 0;
  for (const auto& [key, weight] : kept) {
    if (key.first < 32) ++counted_load[key.second];
    else ++others;
  }
  EXPECT_EQ(others, 32 * 4);
  for (const auto& [expert, rows] : counted_load) EXPECT_LE(rows, 4) << "0.5 * 32 * 4 / 16";
  EXPECT_EQ(counters.kept + counters.dropped, 32 * 4);
}

TEST(Capacity, random_depends_on_its_seed_and_layers_on_their_gamma) {
  const Batch batch(17, 64, 16, 4);
  const auto rule = options(CapacityMethod::drop, 1.0, CapacityMetric::random);
  EXPECT_EQ(cut(batch, rule, WeightRule::renormalise, 5), cut(batch, rule, WeightRule::renormalise, 5));
  EXPECT_NE(cut(batch, rule, WeightRule::renormalise, 5), cut(batch, rule, WeightRule::renormalise, 6));
  auto layers = options(CapacityMethod::drop, 1.0);
  layers.layer_gamma = {2.0, 0.5};
  const Capacity capacity(layers, WeightRule::as_they_are, groups_of(16, 4), 0);
  EXPECT_EQ(capacity.limit(0, 64, 4, 16), 32);
  EXPECT_EQ(capacity.limit(1, 64, 4, 16), 8);
  EXPECT_EQ(capacity.limit(2, 64, 4, 16), 16);
  EXPECT_EQ(capacity.limit(2, 0, 4, 16), 0);
}

TEST(Capacity, scores_that_are_no_numbers_rank_last_and_nothing_breaks) {
  Batch batch(19, 32, 8, 2);
  for (std::size_t i = 0; i < batch.weights.size(); i += 3) batch.weights[i] = std::numeric_limits<float>::quiet_NaN();
  for (std::size_t i = 0; i < batch.scores.size(); i += 5) batch.scores[i] = std::numeric_limits<float>::quiet_NaN();
  for (const CapacityMethod method : all_methods) {
    for (const auto& [expert, rows] : load(cut(batch, options(method, 1.0)))) EXPECT_LE(rows, 8);
  }
}

TEST(Scores, are_those_of_softmax_and_sigmoid) {
  const std::vector<float> logits = {1000.0F, 999.0F, -1000.0F};
  std::vector<float> scores(3);
  softmax_scores(logits, scores);
  EXPECT_NEAR(scores[0], 1 / (1 + std::exp(-1.0)), 1e-6);
  EXPECT_NEAR(scores[0] + scores[1] + scores[2], 1.0, 1e-6);
  sigmoid_scores(std::vector<float>{0.0F, 2.0F, -1000.0F}, scores);
  EXPECT_EQ(scores[0], 0.5F);
  EXPECT_NEAR(scores[1], 1 / (1 + std::exp(-2.0)), 1e-6);
  EXPECT_EQ(scores[2], 0.0F);
}

}  // namespace
}  // namespace moebius::policy
