// SPDX-License-Identifier: Apache-2.0
#include "policy/placement_planners.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "policy/plan_placement.hpp"

namespace moebius::policy {
namespace {

std::vector<std::int64_t> random_load(std::mt19937_64& random, int num_experts) {
  std::vector<std::int64_t> load;
  for (int e = 0; e < num_experts; ++e) load.push_back(static_cast<std::int64_t>(1000.0 / std::pow(1.0 + e, static_cast<double>(random() % 20) / 10.0)));
  std::ranges::shuffle(load, random);
  return load;
}

std::vector<double> rank_loads(const LayerMap& map, std::span<const std::int64_t> load) {
  std::vector<int> counts(load.size());
  for (const std::int32_t id : map.expert) {
    if (id >= 0) ++counts[static_cast<std::size_t>(id)];
  }
  std::vector<double> loads;
  for (int rank = 0; rank < map.num_ranks; ++rank) {
    double sum = 0;
    for (int place = 0; place < map.num_places; ++place) {
      if (const std::int32_t id = map.at(rank, place); id >= 0) sum += static_cast<double>(load[static_cast<std::size_t>(id)]) / counts[static_cast<std::size_t>(id)];
    }
    loads.push_back(sum);
  }
  return loads;
}

bool has_duplicates(const LayerMap& map) {
  for (int rank = 0; rank < map.num_ranks; ++rank) {
    for (int a = 0; a < map.num_places; ++a) {
      for (int b = 0; b < a; ++b) {
        if (map.at(rank, a) >= 0 && map.at(rank, a) == map.at(rank, b)) return true;
      }
    }
  }
  return false;
}

constexpr PlannerKind all_planners[] = {PlannerKind::linear,    PlannerKind::round_robin, PlannerKind::eplb, PlannerKind::eplb_strict,
                                        PlannerKind::speed_lpt, PlannerKind::trace_lpt,   PlannerKind::gem};

LayerTrace one_step(std::vector<std::int64_t> load) {
  const int num_experts = static_cast<int>(load.size());
  return {1, num_experts, std::move(load)};
}

TEST(Planners, every_map_is_whole_for_any_ratio_and_number_of_ranks) {
  std::mt19937_64 random(3);
  int num_maps = 0;
  for (const int num_experts : {1, 2, 5, 8, 12, 33}) {
    for (const int num_ranks : {1, 2, 3, 4, 8, 40}) {
      for (const double ratio : {1.0, 1.125, 1.25, 1.5, 2.0, 100.0}) {
        const int physical = num_physical(num_experts, ratio, num_ranks);
        EXPECT_GE(physical, num_experts);
        EXPECT_LE(physical, num_experts * num_ranks);
        PlacementTask task{.num_experts = num_experts, .ratio = ratio, .curves = std::vector<SpeedCurve>(static_cast<std::size_t>(num_ranks))};
        const auto trace = one_step(random_load(random, num_experts));
        for (const PlannerKind planner : all_planners) {
          SCOPED_TRACE(::testing::Message() << to_string(planner) << " " << num_experts << " experts " << num_ranks << " ranks ratio " << ratio);
          if (planner == PlannerKind::eplb_strict && physical % num_ranks != 0) {
            EXPECT_THROW((void)plan_layer(planner, task, trace), Failure);
            continue;
          }
          const LayerMap map = plan_layer(planner, task, trace);
          EXPECT_EQ(problem_of(map, num_experts), "");
          EXPECT_EQ(std::ranges::count_if(map.expert, [](std::int32_t id) { return id >= 0; }), physical);
          EXPECT_EQ(map.num_places, (physical + num_ranks - 1) / num_ranks);
          if (planner != PlannerKind::eplb_strict) {
            EXPECT_FALSE(has_duplicates(map));
          }
          EXPECT_EQ(map, plan_layer(planner, task, trace)) << "not deterministic";
          ++num_maps;
        }
      }
    }
  }
  EXPECT_GT(num_maps, 1000);
}

TEST(Planners, round_robin_and_linear_golden) {
  const LayerMap linear = linear_map(one_replica_each(5), 2), round = round_robin_map(one_replica_each(5), 2);
  EXPECT_EQ(linear.expert, (std::vector<std::int32_t>{0, 1, 2, 3, 4, -1}));
  EXPECT_EQ(round.expert, (std::vector<std::int32_t>{0, 2, 4, 1, 3, -1}));
}

TEST(Eplb, golden_of_the_published_code) {
  const EplbShape shape{.num_physical = 16, .num_groups = 4, .num_nodes = 2, .num_ranks = 8};
  const std::vector<std::int64_t> first = {90, 132, 40, 61, 104, 165, 39, 4, 73, 56, 183, 86};
  const std::vector<std::int64_t> second = {20, 107, 104, 64, 19, 197, 187, 157, 172, 86, 16, 27};
  EXPECT_EQ(eplb_strict_map(first, shape).expert, (std::vector<std::int32_t>{5, 6, 5, 7, 8, 4, 3, 4, 10, 9, 10, 2, 0, 1, 11, 1}));
  EXPECT_EQ(eplb_strict_map(second, shape).expert, (std::vector<std::int32_t>{7, 10, 6, 8, 6, 11, 8, 9, 2, 4, 5, 1, 5, 0, 3, 1}));
}

TEST(Eplb, packing_is_that_of_the_heaviest_first) {
  const std::vector<double> weights = {3, 1, 3, 2};
  const Packing packing = balanced_packing(weights, 2);
  EXPECT_EQ(packing.pack, (std::vector<int>{0, 1, 1, 0}));
  EXPECT_EQ(packing.place_in_pack, (std::vector<int>{0, 1, 0, 1}));
}

/// The least largest load per replica of all ways to give out the extra replicas.
double best_load_per_replica(const std::vector<std::int64_t>& load, std::vector<int>& counts, int extra, std::size_t from) {
  double worst = 0;
  for (std::size_t e = 0; e < load.size(); ++e) worst = std::max(worst, static_cast<double>(load[e]) / counts[e]);
  if (extra == 0) return worst;
  double best = worst;
  for (std::size_t e = from; e < load.size(); ++e) {
    ++counts[e];
    best = std::min(best, best_load_per_replica(load, counts, extra - 1, e));
    --counts[e];
  }
  return best;
}

TEST(Eplb, replication_is_optimal_against_all_ways_to_replicate) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 200; ++round) {
    const int num_experts = 2 + static_cast<int>(random() % 5), extra = static_cast<int>(random() % 5);
    const auto load = random_load(random, num_experts);
    const auto counts = replica_counts(load, num_experts + extra, 0);
    double worst = 0;
    for (std::size_t e = 0; e < load.size(); ++e) worst = std::max(worst, static_cast<double>(load[e]) / counts[e]);
    std::vector<int> ones(load.size(), 1);
    EXPECT_DOUBLE_EQ(worst, best_load_per_replica(load, ones, extra, 0)) << "round " << round;
  }
}

TEST(Eplb, the_default_avoids_the_known_defects_of_the_original) {
  // One hot expert, 8 places on 2 ranks: the original gives a rank two copies of it.
  const std::vector<std::int64_t> hot = {1000, 1, 1, 1};
  const EplbShape shape{.num_physical = 8, .num_groups = 1, .num_nodes = 1, .num_ranks = 2};
  EXPECT_TRUE(has_duplicates(eplb_strict_map(hot, shape)));
  EXPECT_FALSE(has_duplicates(eplb_map(hot, shape)));
  // Loads of zero: the original makes all extra replicas of expert 0.
  const std::vector<std::int64_t> zero(4, 0);
  EXPECT_EQ(std::ranges::count(eplb_strict_map(zero, shape).expert, 0), 5);
  EXPECT_EQ(std::ranges::count(eplb_map(zero, shape).expert, 0), 2);
  const EplbShape wide{.num_physical = 8, .num_groups = 1, .num_nodes = 1, .num_ranks = 4};
  for (int e = 0; e < 4; ++e) EXPECT_EQ(std::ranges::count(eplb_map(zero, wide).expert, e), 2) << e;
  // Within its hierarchy it is the original where there is nothing to avoid.
  std::mt19937_64 random(5);
  for (int round = 0; round < 100; ++round) {
    const auto load = random_load(random, 12);
    const EplbShape plain{.num_physical = 12, .num_groups = 4, .num_nodes = 2, .num_ranks = 4};
    const LayerMap strict = eplb_strict_map(load, plain), ours = eplb_map(load, plain);
    EXPECT_EQ(rank_loads(strict, load), rank_loads(ours, load)) << "round " << round;
  }
}

/// Smallest possible largest finishing time, over all maps of experts to ranks with equal room.
double best_makespan(std::span<const std::int64_t> load, std::span<const double> speed, std::vector<double>& held, std::vector<int>& room, std::size_t next) {
  if (next == load.size()) {
    double worst = 0;
    for (std::size_t r = 0; r < held.size(); ++r) worst = std::max(worst, held[r] / speed[r]);
    return worst;
  }
  double best = 1e300;
  for (std::size_t r = 0; r < held.size(); ++r) {
    if (room[r] == 0) continue;
    --room[r];
    held[r] += static_cast<double>(load[next]);
    best = std::min(best, best_makespan(load, speed, held, room, next + 1));
    held[r] -= static_cast<double>(load[next]);
    ++room[r];
  }
  return best;
}

TEST(SpeedLpt, is_near_the_best_of_all_maps_and_gives_slow_ranks_less) {
  std::mt19937_64 random(17);
  double worst_ratio = 1;
  for (int round = 0; round < 100; ++round) {
    const auto load = random_load(random, 8);
    const std::vector<double> speed = {1.0, 1.0, round % 2 == 0 ? 1.0 : 0.5, 1.0};
    const LayerMap map = speed_lpt_map(replicas_of(load, std::vector<int>(8, 1)), speed);
    const auto loads = rank_loads(map, load);
    double worst = 0;
    for (std::size_t r = 0; r < 4; ++r) worst = std::max(worst, loads[r] / speed[r]);
    std::vector<double> held(4);
    std::vector<int> room(4, 2);
    const double best = best_makespan(load, speed, held, room, 0);
    EXPECT_GE(worst, best - 1e-9);
    worst_ratio = std::max(worst_ratio, worst / best);
    if (round % 2 == 1) {
      EXPECT_LE(loads[2], *std::ranges::max_element(loads));
      EXPECT_LT(loads[2], std::accumulate(loads.begin(), loads.end(), 0.0) / 4 + 1e-9) << "the slow rank has more than its share";
    }
  }
  EXPECT_LT(worst_ratio, 1.5);
}

TEST(Planners, those_that_look_at_loads_say_so_and_equal_loads_stand_for_none) {
  PlacementTask task{.num_experts = 8, .curves = std::vector<SpeedCurve>(2)};
  EXPECT_FALSE(needs_trace(PlannerKind::linear) || needs_trace(PlannerKind::round_robin) || needs_trace(PlannerKind::speed_lpt));
  EXPECT_TRUE(needs_trace(PlannerKind::eplb) && needs_trace(PlannerKind::eplb_strict) && needs_trace(PlannerKind::trace_lpt) && needs_trace(PlannerKind::gem));
  EXPECT_EQ(plan_layer(PlannerKind::speed_lpt, task, {}), plan_layer(PlannerKind::speed_lpt, task, one_step(std::vector<std::int64_t>(8, 7))));
}

}  // namespace
}  // namespace moebius::policy
