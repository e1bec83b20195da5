// SPDX-License-Identifier: Apache-2.0
#include "policy/replica_router.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "base/check.hpp"
#include "policy/placement_planners.hpp"

namespace moebius::policy {
namespace {

constexpr ReplicaRouterKind all_routers[] = {ReplicaRouterKind::even, ReplicaRouterKind::metro, ReplicaRouterKind::fewest_first,
                                             ReplicaRouterKind::exact};

std::vector<RankId> first_ranks(int num_ranks) {
  std::vector<RankId> ranks;
  for (int r = 0; r < num_ranks; ++r) ranks.emplace_back(r);
  return ranks;
}

/// Tokens of top-k experts drawn without replacement from a Zipf distribution over shuffled experts.
class ZipfTokens {
 public:
  ZipfTokens(int num_experts, int k, double exponent, std::uint64_t seed) : k_(k), random_(seed) {
    for (int e = 0; e < num_experts; ++e) weights_.push_back(std::pow(1.0 + e, -exponent));
    std::ranges::shuffle(weights_, random_);
  }
  std::vector<std::int32_t> micro_batch(int num_tokens) {
    std::vector<std::int32_t> experts;
    for (int t = 0; t < num_tokens; ++t) {
      std::vector<double> left = weights_;
      for (int i = 0; i < k_; ++i) {
        std::discrete_distribution<std::int32_t> draw(left.begin(), left.end());
        experts.push_back(draw(random_));
        left[static_cast<std::size_t>(experts.back())] = 0;
      }
    }
    return experts;
  }

 private:
  int k_;
  std::mt19937_64 random_;
  std::vector<double> weights_;
};

TablePlacement eplb_placement(const std::vector<std::int64_t>& load, double ratio, int num_ranks) {
  const int num_experts = static_cast<int>(load.size());
  return {{eplb_map(load, {num_physical(num_experts, ratio, num_ranks), 1, 1, num_ranks})}, {num_experts}, first_ranks(num_ranks)};
}

std::vector<std::int64_t> load_of(std::span<const std::int32_t> experts, int num_experts) {
  std::vector<std::int64_t> load(static_cast<std::size_t>(num_experts));
  for (const std::int32_t e : experts) ++load[static_cast<std::size_t>(e)];
  return load;
}

TEST(ReplicaRouter, every_pair_gets_a_replica_of_its_expert_and_even_divides_rows_evenly) {
  ZipfTokens tokens(16, 4, 1.0, 3);
  const auto placement = eplb_placement(load_of(tokens.micro_batch(200), 16), 1.5, 4);
  for (const ReplicaRouterKind kind : all_routers) {
    ReplicaRouter router(placement, 1, 16, 4, 1, {.ratio = 1.5, .router = kind, .knee_rows = 1e9});
    std::map<std::pair<int, int>, std::int64_t> total;  // rows by (expert, rank) over all micro-batches
    for (int batch = 0; batch < 50; ++batch) {
      auto experts = tokens.micro_batch(9);
      experts[3] = -1;
      const auto hosts = router.route(LayerId(0), experts);
      ASSERT_EQ(hosts.size(), experts.size());
      EXPECT_FALSE(hosts[3].rank.valid());
      std::map<std::int32_t, std::map<int, int>> rows;
      for (std::size_t i = 0; i < experts.size(); ++i) {
        if (experts[i] < 0) continue;
        const auto replicas = placement.replicas(LayerId(0), ExpertId(experts[i]));
        EXPECT_NE(std::ranges::find(replicas, hosts[i]), replicas.end());
        ++rows[experts[i]][hosts[i].rank.value];
        ++total[{experts[i], hosts[i].rank.value}];
      }
      for (const auto& [expert, on_ranks] : rows) {
        if (kind != ReplicaRouterKind::even) {
          EXPECT_EQ(on_ranks.size(), 1U) << "rows of an expert stay together";
          continue;
        }
        int all = 0, most = 0;
        for (const auto& [rank, count] : on_ranks) {
          all += count;
          most = std::max(most, count);
        }
        const auto n = static_cast<int>(placement.replicas(LayerId(0), ExpertId(expert)).size());
        EXPECT_LE(most, (all + n - 1) / n);
      }
    }
    if (kind != ReplicaRouterKind::even) continue;
    for (int e = 0; e < 16; ++e) {
      std::int64_t least = 1 << 30, most = 0;
      for (const PhysicalExpert& host : placement.replicas(LayerId(0), ExpertId(e))) {
        least = std::min(least, total[{e, host.rank.value}]);
        most = std::max(most, total[{e, host.rank.value}]);
      }
      EXPECT_LE(most - least, 1) << "what cannot be divided falls to each replica in turn";
    }
  }
}

TEST(ReplicaRouter, counters_are_those_of_a_recount) {
  ZipfTokens tokens(8, 2, 1.2, 5);
  const auto placement = eplb_placement(load_of(tokens.micro_batch(100), 8), 1.5, 3);
  ReplicaRouter router(placement, 2, 8, 3, 0, {.ratio = 1.5, .router = ReplicaRouterKind::metro, .knee_rows = 2.0});
  ActivationCounters expected(2, 3);
  // Both layers are alike in the placement of this test.
  const TablePlacement two({placement.maps()[0], placement.maps()[0]}, {8, 8}, first_ranks(3));
  ReplicaRouter two_layers(two, 2, 8, 3, 0, {.ratio = 1.5, .router = ReplicaRouterKind::metro, .knee_rows = 2.0});
  for (int batch = 0; batch < 60; ++batch) {
    const auto experts = tokens.micro_batch(1 + batch % 20);
    const LayerId layer(batch % 2);
    const auto hosts = two_layers.route(layer, experts);
    std::map<std::pair<int, int>, int> at;
    for (const PhysicalExpert& host : hosts) ++at[{host.rank.value, host.place.value}];
    const auto load = load_of(experts, 8);
    const auto active = 8 - std::ranges::count(load, 0);
    if (static_cast<double>(experts.size()) > 2.0 * static_cast<double>(active)) ++expected.even_micro_batches[layer.idx()];
    std::int64_t most_activated = 0, most_rows = 0;
    for (int rank = 0; rank < 3; ++rank) {
      std::int64_t activated = 0, rows = 0;
      for (const auto& [key, count] : at) {
        activated += key.first == rank ? 1 : 0;
        rows += key.first == rank ? count : 0;
      }
      const std::size_t cell = layer.idx() * 3 + static_cast<std::size_t>(rank);
      expected.activated[cell] += activated;
      expected.rows[cell] += rows;
      expected.max_activated[cell] = std::max(expected.max_activated[cell], activated);
      expected.max_rows[cell] = std::max(expected.max_rows[cell], rows);
      most_activated = std::max(most_activated, activated);
      most_rows = std::max(most_rows, rows);
    }
    ++expected.micro_batches[layer.idx()];
    expected.largest_activated[layer.idx()] += most_activated;
    expected.largest_rows[layer.idx()] += most_rows;
  }
  EXPECT_EQ(two_layers.counters(), expected);
  EXPECT_GT(expected.even_micro_batches[0], 0) << "some were above the knee";
  EXPECT_LT(expected.even_micro_batches[0], expected.micro_batches[0]) << "and some below";
  ActivationCounters sum;
  sum.add(expected);
  sum.add(ActivationCounters());
  sum.add(expected);
  EXPECT_EQ(sum.activated[1], 2 * expected.activated[1]);
  EXPECT_EQ(sum.max_activated, expected.max_activated);
}

/// Mean over micro-batches of the largest number of activated experts on a rank.
double mean_largest(ReplicaRouterKind kind, double ratio, double exponent, int num_tokens) {
  constexpr int num_experts = 128, num_ranks = 8, k = 8, num_batches = 40;
  ZipfTokens history(num_experts, k, exponent, 9), tokens(num_experts, k, exponent, 9);
  const auto placement = eplb_placement(load_of(history.micro_batch(500), num_experts), ratio, num_ranks);
  ReplicaRouter router(placement, 1, num_experts, num_ranks, 0, {.ratio = ratio, .router = kind, .knee_rows = 1e9});
  (void)tokens.micro_batch(500);
  for (int batch = 0; batch < num_batches; ++batch) (void)router.route(LayerId(0), tokens.micro_batch(num_tokens));
  return static_cast<double>(router.counters().largest_activated[0]) / num_batches;
}

TEST(ReplicaRouter, with_half_as_many_replicas_again_fewer_experts_are_activated_than_by_even) {
  for (const double exponent : {0.0, 0.8, 1.2}) {
    for (const int num_tokens : {32, 64}) {
      SCOPED_TRACE(::testing::Message() << "Zipf " << exponent << ", " << num_tokens << " tokens");
      const double even = mean_largest(ReplicaRouterKind::even, 1.5, exponent, num_tokens);
      const double metro = mean_largest(ReplicaRouterKind::metro, 1.5, exponent, num_tokens);
      const double exact = mean_largest(ReplicaRouterKind::exact, 1.5, exponent, num_tokens);
      EXPECT_LE(metro, 0.8 * even);
      EXPECT_LE(exact, metro);
      EXPECT_LE(exact, mean_largest(ReplicaRouterKind::fewest_first, 1.5, exponent, num_tokens));
    }
  }
}

// Three ranks that step together, each with its own rows, choose like one rank that has them all; the first one counts.
TEST(ReplicaRouter, ranks_that_step_together_choose_alike_from_the_rows_of_all) {
  constexpr int num_experts = 24, num_ranks = 4, num_sources = 3;
  ZipfTokens tokens(num_experts, 4, 1.0, 21);
  const auto placement = eplb_placement(load_of(tokens.micro_batch(300), num_experts), 1.5, num_ranks);
  for (const ReplicaRouterKind kind : all_routers) {
    const Job::Replicas options{.ratio = 1.5, .router = kind, .knee_rows = 1e9};
    ReplicaRouter whole(placement, 1, num_experts, num_ranks, 0, options);
    std::vector<ReplicaRouter> parts;
    for (int source = 0; source < num_sources; ++source) parts.emplace_back(placement, 1, num_experts, num_ranks, source, options);
    for (int step = 0; step < 30; ++step) {
      std::vector<std::vector<std::int32_t>> own(num_sources);
      std::vector<std::int32_t> all;
      for (auto& experts : own) {
        experts = tokens.micro_batch(step % 3 == 0 ? 0 : 1 + step % 5);  // some ranks have nothing
        all.insert(all.end(), experts.begin(), experts.end());
      }
      const auto expected = whole.route(LayerId(0), all);
      const std::vector<PhysicalExpert> of_whole(expected.begin(), expected.end());
      const auto rows = load_of(all, num_experts);
      std::size_t at = 0;
      for (int source = 0; source < num_sources; ++source) {
        const auto& experts = own[static_cast<std::size_t>(source)];
        const auto hosts = parts[static_cast<std::size_t>(source)].route_of_all(LayerId(0), experts, rows, source == 0);
        for (std::size_t i = 0; i < experts.size(); ++i, ++at) {
          const auto replicas = placement.replicas(LayerId(0), ExpertId(experts[i]));
          ASSERT_NE(std::ranges::find(replicas, hosts[i]), replicas.end());
          if (kind != ReplicaRouterKind::even) { ASSERT_EQ(hosts[i], of_whole[at]) << "step " << step; }
        }
      }
    }
    if (kind != ReplicaRouterKind::even) { EXPECT_EQ(parts[0].counters(), whole.counters()); }
    EXPECT_EQ(parts[0].counters().micro_batches[0], 30);
    EXPECT_EQ(std::accumulate(parts[0].counters().rows.begin(), parts[0].counters().rows.end(), std::int64_t{0}),
              std::accumulate(whole.counters().rows.begin(), whole.counters().rows.end(), std::int64_t{0}));
    EXPECT_EQ(parts[1].counters().micro_batches[0], 0);
  }
}

TEST(ReplicaRouter, ties_begin_at_another_rank_each_time) {
  LayerMap map(3, 1);
  map.expert = {0, 0, 0};
  const TablePlacement placement({map}, {1}, first_ranks(3));
  ReplicaRouter router(placement, 1, 1, 3, 2, {.ratio = 3, .router = ReplicaRouterKind::metro, .knee_rows = 1e9});
  std::vector<int> ranks;
  for (int batch = 0; batch < 4; ++batch) ranks.push_back(router.route(LayerId(0), std::vector<std::int32_t>{0})[0].rank.value);
  EXPECT_EQ(ranks, (std::vector<int>{2, 0, 1, 2}));
  EXPECT_THROW((void)router.route(LayerId(0), std::vector<std::int32_t>{1}), ContractError);
}

}  // namespace
}  // namespace moebius::policy
