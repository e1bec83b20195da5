// SPDX-License-Identifier: Apache-2.0
// GEM-style placement, reconstructed (policy/gem.hpp), against all maps there are.
#include "policy/gem.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace moebius::policy {
namespace {

/// Some experts busy in every step, others in bursts that come together.
LayerTrace random_trace(std::mt19937_64& random, int num_experts, int num_steps) {
  LayerTrace trace{num_steps, num_experts, {}};
  for (int s = 0; s < num_steps; ++s) {
    const bool burst = random() % 3 == 0;
    for (int e = 0; e < num_experts; ++e) {
      const bool temporal = e % 3 == 0;
      trace.rows.push_back(static_cast<std::int64_t>(random() % 10) + (temporal && burst ? 40 : 0) + (temporal ? 0 : 60 / (1 + e)));
    }
  }
  return trace;
}

std::vector<SpeedCurve> some_curves(std::mt19937_64& random, int num_ranks) {
  std::vector<SpeedCurve> curves;
  for (int r = 0; r < num_ranks; ++r) {
    const double slow = 1.0 + static_cast<double>(random() % 4) * 0.25;
    curves.push_back(SpeedCurve({{1, 5}, {8, 8}, {16, 16}, {32, 32}}).slowed(slow));
  }
  return curves;
}

/// SCORE by its definition, with nothing kept between steps.
double score_by_definition(const LayerMap& map, const LayerTrace& trace, std::span<const SpeedCurve> curves) {
  double score = 0;
  for (int s = 0; s < trace.num_steps; ++s) {
    double slowest = 0;
    for (int r = 0; r < map.num_ranks; ++r) {
      double rows = 0;
      for (int place = 0; place < map.num_places; ++place) {
        const std::int32_t id = map.at(r, place);
        if (id >= 0) rows += static_cast<double>(trace.at(s, id)) / static_cast<double>(std::ranges::count(map.expert, id));
      }
      slowest = std::max(slowest, curves[static_cast<std::size_t>(r)].seconds(rows));
    }
    score += slowest;
  }
  return score;
}

/// The least score of all maps of `num_experts` experts to ranks of equal room.
double best_score(LayerMap& map, std::vector<int>& used, const LayerTrace& trace, std::span<const SpeedCurve> curves, int next) {
  if (next == trace.num_experts) return score_by_definition(map, trace, curves);
  double best = 1e300;
  for (int r = 0; r < map.num_ranks; ++r) {
    int& place = used[static_cast<std::size_t>(r)];
    if (place == map.num_places) continue;
    map.set(r, place++, next);
    best = std::min(best, best_score(map, used, trace, curves, next + 1));
    map.set(r, --place, -1);
  }
  return best;
}

std::vector<Replica> replicas_of_trace(const LayerTrace& trace) {
  return replicas_of(trace.totals(), std::vector<int>(static_cast<std::size_t>(trace.num_experts), 1));
}

TEST(Gem, is_within_two_percent_of_the_best_of_all_2520_maps) {
  std::mt19937_64 random(23);
  int near = 0;
  constexpr int num_cases = 40;
  for (int i = 0; i < num_cases; ++i) {
    const LayerTrace trace = random_trace(random, 8, 8);
    const auto curves = some_curves(random, 4);
    const LayerMap map = gem_map(replicas_of_trace(trace), trace, curves);
    ASSERT_EQ(problem_of(map, 8), "");
    LayerMap scratch(4, 2);
    std::vector<int> used(4);
    const double best = best_score(scratch, used, trace, curves, 0), ours = predicted_seconds(map, trace, curves);
    EXPECT_NEAR(ours, score_by_definition(map, trace, curves), 1e-9 * ours);
    EXPECT_GE(ours, best * (1 - 1e-9));
    near += ours <= 1.02 * best ? 1 : 0;
  }
  EXPECT_GE(near, num_cases * 95 / 100);
}

/// score_greedy_map by its definition: every choice scores the whole partial map anew.
LayerMap greedy_by_definition(const LayerTrace& trace, std::span<const SpeedCurve> curves) {
  const int num_ranks = static_cast<int>(curves.size());
  LayerMap map(num_ranks, trace.num_experts / num_ranks);
  std::vector<int> used(curves.size());
  for (const Replica& replica : by_weight(replicas_of_trace(trace))) {
    int best = -1;
    double best_score = 0;
    for (int r = 0; r < num_ranks; ++r) {
      int& place = used[static_cast<std::size_t>(r)];
      if (place == map.num_places) continue;
      map.set(r, place, replica.expert);
      const double score = score_by_definition(map, trace, curves);
      map.set(r, place, -1);
      const bool faster = best >= 0 && score == best_score && curves[static_cast<std::size_t>(r)].seconds(100) < curves[static_cast<std::size_t>(best)].seconds(100);
      if (best < 0 || score < best_score || faster) {
        best = r;
        best_score = score;
      }
    }
    map.set(best, used[static_cast<std::size_t>(best)]++, replica.expert);
  }
  return map;
}

TEST(Gem, greedy_is_that_of_the_definition) {
  std::mt19937_64 random(37);
  for (int i = 0; i < 50; ++i) {
    const LayerTrace trace = random_trace(random, 12, 6);
    const auto curves = some_curves(random, 3);
    EXPECT_EQ(score_greedy_map(replicas_of_trace(trace), trace, curves), greedy_by_definition(trace, curves)) << i;
    const std::vector<SpeedCurve> one_way = {SpeedCurve({{1, 1}, {64, 64}}), SpeedCurve({{1, 50}, {64, 60}})}, other_way = {one_way[1], one_way[0]};
    EXPECT_EQ(trace_lpt_map(replicas_of_trace(trace), trace, one_way), trace_lpt_map(replicas_of_trace(trace), trace, other_way)) << "speed-blind";
  }
}

TEST(Gem, never_worse_than_linear_eplb_or_its_starts_and_swaps_never_raise_the_score) {
  std::mt19937_64 random(29);
  for (int i = 0; i < 60; ++i) {
    const int num_experts = 4 + static_cast<int>(random() % 30), num_ranks = 2 + static_cast<int>(random() % 7);
    const LayerTrace trace = random_trace(random, num_experts, 16);
    const auto curves = some_curves(random, num_ranks);
    const int physical = i % 2 == 0 ? num_experts : num_experts + num_experts / 2;
    const auto counts = replica_counts(trace.totals(), std::min(physical, num_experts * num_ranks), num_ranks);
    const auto replicas = replicas_of(trace.totals(), counts);
    const auto score = [&](const LayerMap& map) { return score_by_definition(map, trace, curves); };
    const LayerMap greedy = score_greedy_map(replicas, trace, curves), lpt = speed_lpt_map(replicas, speeds(trace, curves));
    const double ours = score(gem_map(replicas, trace, curves)) * (1 - 1e-9);
    EXPECT_LE(ours, score(greedy));
    EXPECT_LE(ours, score(lpt));
    EXPECT_LE(ours, score(linear_map(replicas, num_ranks)));
    EXPECT_LE(ours, score(eplb_map(trace.totals(), {static_cast<int>(replicas.size()), 1, 1, num_ranks})));
    for (const LayerMap& start : {greedy, lpt}) {
      const LayerMap better = improved_by_swaps(start, trace, curves);
      EXPECT_LE(score(better) * (1 - 1e-9), score(start));
      EXPECT_LE(ours, score(better));
      for (int r = 0; r < num_ranks; ++r) {
        std::vector<std::int32_t> ids;
        for (int p = 0; p < better.num_places && better.at(r, p) >= 0; ++p) ids.push_back(better.at(r, p));
        std::ranges::sort(ids);
        EXPECT_EQ(std::ranges::adjacent_find(ids), ids.end()) << "two replicas on one rank";
      }
      EXPECT_EQ(problem_of(better, num_experts), "");
      EXPECT_EQ(improved_by_swaps(better, trace, curves), better) << "a local optimum";
    }
  }
}

TEST(Gem, a_slow_rank_gets_fewer_rows_and_ranks_alike_are_planned_as_without_speeds) {
  std::mt19937_64 random(31);
  for (int i = 0; i < 20; ++i) {
    const LayerTrace trace = random_trace(random, 32, 16);
    const auto replicas = replicas_of_trace(trace);
    const SpeedCurve curve({{1, 1}, {64, 64}});
    const std::vector<SpeedCurve> alike(4, curve), all_slow(4, curve.slowed(3));
    EXPECT_EQ(gem_map(replicas, trace, alike), gem_map(replicas, trace, all_slow));
    EXPECT_EQ(trace_lpt_map(replicas, trace, alike), score_greedy_map(replicas, trace, alike));
    std::vector<SpeedCurve> one_slow = alike;
    one_slow[2] = curve.slowed(2);
    const LayerMap map = gem_map(replicas, trace, one_slow);
    EXPECT_NE(trace_lpt_map(replicas, trace, one_slow), score_greedy_map(replicas, trace, one_slow)) << "speed-blind";
    std::vector<double> loads(4);
    const auto totals = trace.totals();
    for (int r = 0; r < 4; ++r) {
      for (int p = 0; p < map.num_places; ++p) loads[static_cast<std::size_t>(r)] += static_cast<double>(totals[static_cast<std::size_t>(map.at(r, p))]);
    }
    EXPECT_EQ(std::ranges::min_element(loads) - loads.begin(), 2);
  }
}

TEST(Gem, experts_that_are_busy_together_are_kept_apart) {
  // Experts 0 and 1 burst in the same steps, 2 and 3 in the others: by totals all pairs are alike.
  const LayerTrace trace{4, 4, {10, 10, 0, 0, 0, 0, 10, 10, 10, 10, 0, 0, 0, 0, 10, 10}};
  const std::vector<SpeedCurve> curves(2);
  const LayerMap map = gem_map(replicas_of_trace(trace), trace, curves);
  EXPECT_EQ(predicted_seconds(map, trace, curves), 40.0);
  EXPECT_EQ(predicted_seconds(linear_map(one_replica_each(4), 2), trace, curves), 80.0);
  EXPECT_EQ(max_over_mean(linear_map(one_replica_each(4), 2), trace), 1.0) << "which totals do not show";
}

TEST(SpeedCurve, is_monotone_straight_between_points_and_goes_on_at_the_end) {
  const SpeedCurve curve({{1, 4}, {8, 3}, {16, 12}, {32, 20}});
  EXPECT_EQ(curve.seconds(0), 0);
  EXPECT_EQ(curve.seconds(0.5), 2);
  EXPECT_EQ(curve.seconds(8), 4) << "never faster than with fewer rows";
  EXPECT_EQ(curve.seconds(12), 8);
  EXPECT_EQ(curve.seconds(64), 36);
  EXPECT_NEAR(curve.knee_rows(), 8 + 8 * 0.5, 0.01);
  EXPECT_EQ(curve.slowed(2).seconds(12), 16);
  const std::vector<SpeedCurve> both = {curve, curve.slowed(3)};
  EXPECT_EQ(mean_curve(both).seconds(12), 16);
}

TEST(LayerTrace, steps_and_totals) {
  const LayerTrace trace{3, 2, {1, 2, 3, 4, 5, 6}};
  EXPECT_EQ(trace.totals(), (std::vector<std::int64_t>{9, 12}));
  EXPECT_EQ(trace.steps(1, 9).rows, (std::vector<std::int64_t>{3, 4, 5, 6}));
  EXPECT_EQ(trace.steps(3, 9).num_steps, 0);
}

}  // namespace
}  // namespace moebius::policy
