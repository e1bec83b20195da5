// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "policy/queue_simulation.hpp"

namespace moebius::policy::testing {
namespace {

constexpr double never_ms = 1e12;

TEST(SchedulerSimulation, rows_are_conserved_and_all_tokens_finish) {
  for (const auto kind : {SchedulerKind::defrag, SchedulerKind::mtfs, SchedulerKind::flfs, SchedulerKind::mbflfs}) {
    for (const double aging_ms : {0.0, 5.0, never_ms}) {
      for (const int num_expert_ranks : {1, 3, 5}) {
        for (const bool lookback : {false, true}) {
          SimulationOptions options;
          options.schedule = {.scheduler = kind, .lookback = lookback, .aging_ms = aging_ms};
          options.num_expert_ranks = num_expert_ranks;
          options.num_tokens = 150;
          options.top_k = 3;
          const SimulationResult result = simulate(options);
          SCOPED_TRACE(::testing::Message() << to_string(kind) << " aging " << aging_ms << " ranks " << num_expert_ranks);
          EXPECT_EQ(result.num_violations, 0);
          EXPECT_EQ(result.num_finished, options.num_tokens);
          std::int64_t attention_rows = 0, expert_rows = 0;
          for (std::size_t rank = 0; rank < result.ranks.size(); ++rank) {
            const RankCounts& counts = result.ranks[rank];
            EXPECT_EQ(counts.queued, 0);
            EXPECT_EQ(counts.running, 0);
            EXPECT_EQ(counts.received, counts.sent);
            (rank < 2 ? attention_rows : expert_rows) += counts.received;
          }
          EXPECT_EQ(attention_rows, options.num_tokens * (options.num_layers + 1));
          EXPECT_EQ(expert_rows, options.num_tokens * options.num_layers * options.top_k);
        }
      }
    }
  }
}

/// A load that is light in large batches and too heavy in small ones: a run takes 1 ms whatever its rows,
/// and a token arrives every 0.9 ms. A rank that always runs what came last has no time for anything else.
SimulationOptions sustained_arrivals(SchedulerKind kind, double aging_ms) {
  SimulationOptions options;
  options.schedule = {.scheduler = kind, .aging_ms = aging_ms};
  options.num_attention_ranks = 1;
  options.num_expert_ranks = 2;
  options.max_rows_per_run = 64;
  options.call_s = 1e-3;
  options.row_s = 1e-6;
  options.arrival_gap_s = 9e-4;
  options.num_tokens = 4000;  // arrivals go on for 3.6 s
  options.end_s = 3.0;
  return options;
}

TEST(SchedulerSimulation, flfs_starves_under_sustained_arrivals) {
  const SimulationResult result = simulate(sustained_arrivals(SchedulerKind::flfs, never_ms));
  EXPECT_EQ(result.num_violations, 0);
  EXPECT_EQ(result.num_finished, 0);
  EXPECT_GT(result.longest_wait_s, 2.9) << "a row of the second layer waits as long as anybody looks";
}

TEST(SchedulerSimulation, defrag_with_aging_does_not_starve) {
  const SimulationResult result = simulate(sustained_arrivals(SchedulerKind::defrag, 50.0));
  EXPECT_EQ(result.num_violations, 0);
  EXPECT_GT(result.num_finished, 3000) << "of 3333 that arrived";
  EXPECT_LT(result.longest_wait_s, 0.1);
}

TEST(SchedulerSimulation, aging_alone_rescues_flfs) {
  const SimulationResult result = simulate(sustained_arrivals(SchedulerKind::flfs, 50.0));
  EXPECT_EQ(result.num_violations, 0);
  EXPECT_GT(result.num_finished, 2500) << "of 3333 that arrived";
  EXPECT_LT(result.longest_wait_s, 0.1);
}

TEST(SchedulerSimulation, aging_bounds_the_wait_below_saturation) {
  // Arrivals leave the attention rank idle time, so every wait is bounded by the limit plus a few runs.
  SimulationOptions options;
  options.schedule = {.scheduler = SchedulerKind::mtfs, .aging_ms = 20.0};
  options.num_attention_ranks = 1;
  options.num_tokens = 2000;
  options.arrival_gap_s = 1.5e-3;
  const SimulationResult result = simulate(options);
  EXPECT_EQ(result.num_finished, options.num_tokens);
  EXPECT_LT(result.longest_wait_s, 0.020 + 8 * (options.call_s + 16 * options.row_s));
}

TEST(SchedulerSimulation, the_same_seed_gives_the_same_run) {
  SimulationOptions options;
  options.num_tokens = 200;
  const SimulationResult a = simulate(options), b = simulate(options);
  EXPECT_EQ(a.num_runs, b.num_runs);
  EXPECT_EQ(a.longest_wait_s, b.longest_wait_s);
  options.seed = 2;
  EXPECT_NE(a.longest_wait_s, simulate(options).longest_wait_s);
}

}  // namespace
}  // namespace moebius::policy::testing
