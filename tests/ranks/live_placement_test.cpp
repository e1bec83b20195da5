// SPDX-License-Identifier: Apache-2.0
// Experts that move while a job runs, on one thread with a clock that goes by how often it is asked: a run repeats from its
// seeds. Whatever moves and however the turns of the ranks fall, the bits are those of a job whose experts stay.
#include "ranks/live_placement.hpp"

#include <gtest/gtest.h>

#include <set>

#include "base/clock.hpp"
#include "engine_support.hpp"

namespace moebius::ranks {
namespace {

double ticks = 0;
double ticking_clock() { return ticks += 4e-6; }

class LivePlacementTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ticks = 0;
    set_clock_source(ticking_clock);
  }
  void TearDown() override { set_clock_source(nullptr); }

  static Job moving_job(LayoutMode mode, int attention_ranks) {
    Job job;
    job.schedule.aging_ms = 1e9;
    job.schedule.gather_short_batches = false;
    job.layout = {.mode = mode, .attention_ranks = attention_ranks, .expert_ranks = 0};
    job.limits = {.max_tokens_in_flight = 40, .segment_tokens = 8, .micro_batch_tokens = 16, .expert_rows = 5};
    job.rebalance = {.interval_s = 1e-3, .horizon_s = 1, .force = true, .spare_places = 2};
    return job;
  }
  static const EngineRun& undisturbed() {
    static const EngineRun run = [] {
      Job job;
      return run_engines(golden_model(), job, 1, some_requests(), 1);
    }();
    return run;
  }
  static void expect_same(const EngineRun& run, const std::string& what) {
    EXPECT_EQ(to_hex(run.digest()), to_hex(undisturbed().digest())) << what;
    EXPECT_EQ(run.pairs_sent, run.rows_computed) << what;
    EXPECT_EQ(run.pairs_sent, run.outputs_received) << what;
  }
};

TEST_F(LivePlacementTest, BitsStayWhateverMovesAndWhen) {
  struct Case {
    int num_ranks;
    LayoutMode mode;
    int attention_ranks;
    int spare;
    double replicas;
  };
  const Case cases[] = {{3, LayoutMode::split, 1, 1, 1.0},     {5, LayoutMode::split, 2, 2, 1.0},     {4, LayoutMode::split, 2, 1, 1.5},
                        {2, LayoutMode::colocated, 0, 1, 1.0}, {3, LayoutMode::colocated, 0, 3, 1.0}, {5, LayoutMode::colocated, 0, 2, 1.25}};
  std::uint64_t seed = 1;
  std::size_t num_changes = 0;
  for (const Case& c : cases) {
    Job job = moving_job(c.mode, c.attention_ranks);
    job.rebalance.spare_places = c.spare;
    job.replicas.ratio = c.replicas;
    for (const Rows rows : {Rows::travel, Rows::in_place}) {
      for (int repeat = 0; repeat < 3; ++repeat) {
        ++seed;
        const EngineRun run = run_engines(golden_model(), job, c.num_ranks, some_requests(), seed, 1 + static_cast<int>(seed % 3), rows);
        expect_same(run, std::to_string(c.num_ranks) + " ranks, seed " + std::to_string(seed));
        EXPECT_GT(run.changes.size(), 2U) << c.num_ranks << " ranks, seed " << seed;
        num_changes += run.changes.size();
      }
    }
  }
  EXPECT_GT(num_changes, 200U);
}

TEST_F(LivePlacementTest, ExpertsGoRoundAmongThreeRanksWithOneSparePartEach) {
  Job job = moving_job(LayoutMode::split, 1);
  job.rebalance.spare_places = 1;
  const EngineRun run = run_engines(golden_model(), job, 4, some_requests(), 21);
  expect_same(run, "cycle");
  int cycles = 0;
  std::size_t next = 0;
  for (const LiveChange& change : run.changes) {
    const std::span<const policy::ExpertMove> moves = std::span(run.moves).subspan(next, static_cast<std::size_t>(change.num_moves));
    next += moves.size();
    ASSERT_LE(moves.size(), 3U);  // a part each
    std::set<int> from, to;
    for (const policy::ExpertMove& move : moves) {
      from.insert(move.from_rank);
      to.insert(move.to_rank);
    }
    EXPECT_EQ(from, to);
    cycles += from.size() == 3 ? 1 : 0;
  }
  EXPECT_GT(cycles, 2);
}

TEST_F(LivePlacementTest, ASlowDestinationIsWaitedForAndNobodyWaits) {
  Job job = moving_job(LayoutMode::split, 1);
  job.placement.emulated_slowdown = {1, 20};
  const EngineRun run = run_engines(golden_model(), job, 3, some_requests(), 31);
  expect_same(run, "slow");
  EXPECT_GT(run.changes.size(), 5U);
}

/// Many texts, so that there is time to learn from and time to gain.
std::vector<Request> many_texts() {
  std::mt19937_64 random(4);
  std::vector<Request> requests;
  for (int i = 0; i < 300; ++i) {
    std::vector<TokenId> tokens;
    for (int t = 0; t < 40; ++t) tokens.push_back(static_cast<TokenId>(random() % 512));
    requests.push_back({.custom_id = std::to_string(i), .input_line = i + 1, .kind = RequestKind::loglikelihood_rolling, .context = tokens});
  }
  return requests;
}

// Of two expert ranks the second takes four times as long for a row.
TEST_F(LivePlacementTest, LoadLeavesASlowRankInFewChanges) {
  Job job = moving_job(LayoutMode::split, 1);
  job.placement.emulated_slowdown = {1, 4};
  job.rebalance = {.interval_s = 10e-3, .horizon_s = 10, .force = false, .spare_places = 6};
  const std::vector<Request> texts = many_texts();
  const EngineRun run = run_engines(golden_model(), job, 3, texts, 51);
  ASSERT_FALSE(run.changes.empty());
  EXPECT_LT(run.changes.size(), 8U) << "it goes on moving";
  for (const LiveChange& change : run.changes) EXPECT_GT(change.predicted_s, change.cost_s);
  job.rebalance.interval_s = 0;
  const EngineRun still = run_engines(golden_model(), job, 3, texts, 51);
  EXPECT_EQ(to_hex(run.digest()), to_hex(still.digest()));
  EXPECT_TRUE(still.changes.empty());
  EXPECT_LT(run.rows_of_rank[2], still.rows_of_rank[2] * 4 / 5);
}

// What is to be had in a very short time does not pay the copying.
TEST_F(LivePlacementTest, ExpertsStayWhereMovingDoesNotPay) {
  Job job = moving_job(LayoutMode::split, 1);
  job.placement.emulated_slowdown = {1, 4};
  job.rebalance = {.interval_s = 10e-3, .horizon_s = 1e-6, .force = false, .spare_places = 2};
  EXPECT_TRUE(run_engines(golden_model(), job, 3, many_texts(), 51).changes.empty());
}

// Weights are copied whole, each move once: also those of a change that the end of the job overtook.
TEST_F(LivePlacementTest, BytesStagedAreThoseOfTheMoves) {
  const Job job = moving_job(LayoutMode::colocated, 0);
  const EngineRun run = run_engines(golden_model(), job, 3, some_requests(), 41);
  const auto expert_bytes = static_cast<std::int64_t>(model::ExpertStack::expert_bytes(golden_model().config, job.model.compute));
  std::int64_t published = 0;
  for (const LiveChange& change : run.changes) published += change.num_moves;
  EXPECT_GE(run.bytes_staged, published * expert_bytes);
  EXPECT_LE(run.bytes_staged, static_cast<std::int64_t>(run.moves.size()) * expert_bytes);
}

}  // namespace
}  // namespace moebius::ranks
