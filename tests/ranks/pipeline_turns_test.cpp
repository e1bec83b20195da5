// SPDX-License-Identifier: Apache-2.0
// Pipelines in the running engine, on one thread: the order is fixed, the bits are those of every other way.
#include "ranks/pipeline_turns.hpp"

#include <gtest/gtest.h>

#include <random>

#include "engine_support.hpp"

namespace moebius::ranks {
namespace {

Job pipeline_job(int r1, int r2, PipelineOrder order, int attention_ranks) {
  Job job;
  job.schedule.execution = Execution::pipeline;
  job.pipeline = {.r1 = r1, .r2 = r2, .order = order};
  job.layout = {.mode = LayoutMode::split, .attention_ranks = attention_ranks, .expert_ranks = 0};
  return job;
}

EngineRun alone(const TestModel& model) { return run_engines(model, Job{}, 1, some_requests(), 1); }

void expect_conserved(const EngineRun& run) {
  EXPECT_EQ(run.pairs_sent, run.rows_computed);
  EXPECT_EQ(run.pairs_sent, run.outputs_received);
}

constexpr PipelineOrder all_orders[] = {PipelineOrder::asas, PipelineOrder::aass, PipelineOrder::fused};

/// One prompt of so many tokens: a mini-batch.
std::vector<Request> one_prompt(int num_tokens) {
  std::mt19937_64 random(4);
  Request request{.custom_id = "p", .input_line = 1, .kind = RequestKind::loglikelihood_rolling};
  std::vector<TokenId> tokens;
  for (int t = 0; t < num_tokens; ++t) tokens.push_back(static_cast<TokenId>(random() % 512));
  request.context = tokens;
  return {request};
}

class PipelineOfFamily : public ::testing::TestWithParam<const char*> {};

// Shared experts behind a dense first layer, behind a gate, none. r2 is above the rows of a micro-batch when requests generate.
TEST_P(PipelineOfFamily, BitsAreThoseOfOneRank) {
  const TestModel& model = golden_model(GetParam());
  const Digest128 expected = alone(model).digest();
  struct Layout {
    int num_ranks, attention_ranks;
  };
  const Layout layouts[] = {{2, 1}, {4, 3}, {3, 1}, {7, 3}};
  std::uint64_t seed = 7;
  for (const int r1 : {1, 2, 5}) {
    for (const int r2 : {1, 3, 30}) {
      for (const PipelineOrder order : all_orders) {
        ++seed;
        const Layout layout = layouts[seed % std::size(layouts)];
        Job job = pipeline_job(r1, r2, order, layout.attention_ranks);
        job.limits.max_tokens_in_flight = seed % 3 == 0 ? 1024 : 37;
        job.limits.segment_tokens = 5;
        job.limits.expert_rows = 4;
        const Rows rows = seed % 2 == 0 ? Rows::travel : Rows::in_place;
        const EngineRun run = run_engines(model, job, layout.num_ranks, some_requests(), seed, 1 + static_cast<int>(seed % 3), rows);
        EXPECT_EQ(to_hex(run.digest()), to_hex(expected)) << "r1 " << r1 << ", r2 " << r2 << ", " << to_string(order) << ", " << layout.num_ranks << " ranks";
        expect_conserved(run);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Family, PipelineOfFamily, ::testing::Values("deepseek_v2", "qwen2_moe", "qwen3_moe"),
                         [](const auto& name) { return std::string(name.param); });

TEST(PipelineTurns, AMiniBatchIsCutIntoR1MicroBatchesForEachLayer) {
  const TestModel& model = golden_model("deepseek_v2");
  for (const int r1 : {1, 2, 3, 4}) {
    Job job = pipeline_job(r1, 1, PipelineOrder::aass, 1);
    job.limits.segment_tokens = 4;
    const EngineRun run = run_engines(model, job, 2, one_prompt(48), 1);
    EXPECT_EQ(run.micro_batches, std::int64_t{r1} * (model.config.num_layers + 1));
  }
  // No more than there are segments.
  Job job = pipeline_job(9, 1, PipelineOrder::asas, 1);
  job.limits.segment_tokens = 24;
  EXPECT_EQ(run_engines(model, job, 2, one_prompt(48), 1).micro_batches, 2 * (model.config.num_layers + 1));
}

TEST(PipelineTurns, EachPartHasItsOwnExpertCalls) {
  const TestModel& model = golden_model("qwen3_moe");
  std::int64_t before = 0;
  for (const int r2 : {1, 2, 4}) {
    const EngineRun run = run_engines(model, pipeline_job(1, r2, PipelineOrder::asas, 1), 2, one_prompt(48), 1);
    EXPECT_GT(run.expert_calls, before);
    before = run.expert_calls;
  }
  // A part of one row calls each of its experts by itself.
  const EngineRun rows = run_engines(model, pipeline_job(1, 1000, PipelineOrder::asas, 1), 2, one_prompt(48), 1);
  EXPECT_EQ(rows.expert_calls, rows.pairs_sent);
}

// Rows that travel come in several blocks: the experts wait for the last of them, and read their weights once.
TEST(PipelineTurns, APartOfSeveralBlocksIsComputedWhole) {
  const TestModel& model = golden_model("qwen3_moe");
  const Job job = pipeline_job(1, 1, PipelineOrder::asas, 1);
  const EngineRun in_place = run_engines(model, job, 2, one_prompt(200), 1), travelling = run_engines(model, job, 2, one_prompt(200), 1, 2, Rows::travel);
  EXPECT_EQ(travelling.expert_calls, in_place.expert_calls);
  EXPECT_LT(travelling.expert_calls, travelling.pairs_sent / 4);
}

TEST(PipelineTurns, CapacityThatTakesEveryExpertOfARowStillEnds) {
  for (const PipelineOrder order : all_orders) {
    Job job = pipeline_job(3, 2, order, 1);
    job.limits.segment_tokens = 3;
    job.capacity.method = CapacityMethod::drop;
    job.capacity.gamma = 0.1;
    job.capacity.min_mean_load = 0;
    const EngineRun run = run_engines(golden_model("qwen2_moe"), job, 3, some_requests(), 3);
    EXPECT_EQ(run.rows.size(), some_requests().size());
    expect_conserved(run);
  }
}

TEST(PipelineTurns, TheSolverChangesThePlanWhileAJobWithMixedLengthsRunsAndTheBitsStay) {
  const TestModel& model = golden_model("deepseek_v2");
  std::vector<Request> requests = some_requests();
  for (const int length : {5, 30, 60}) {
    Request request = one_prompt(length).front();
    request.custom_id = "mixed-" + std::to_string(length);
    request.input_line = static_cast<std::int64_t>(requests.size()) + 1;
    requests.push_back(request);
  }
  const Digest128 expected = run_engines(model, Job{}, 1, requests, 1).digest();
  // Where experts take long against their overhead parts pay for large mini-batches, and not for those of a few rows.
  Job job = pipeline_job(0, 0, PipelineOrder::automatic, 2);
  job.limits.segment_tokens = 4;
  job.limits.max_tokens_in_flight = 64;
  job.plan.costs = {.attention = {1e-6, 1e-6, 0, 0}, .expert = {1e-8, 1e-6}, .shared = {1e-6, 1e-7}, .dense = {1e-6, 1e-6}, .head = {1e-6, 1e-6},
                    .link_in_node = {1e-8, 1e-9}};
  const EngineRun run = run_engines(model, job, 3, requests, 3);
  EXPECT_EQ(to_hex(run.digest()), to_hex(expected));
  expect_conserved(run);
  EXPECT_GE(run.pipeline_answers, 2);
}

TEST(PipelineTurns, LimitsGiveRoomToTheMicroBatches) {
  const ModelConfig& config = golden_model("qwen3_moe").config;
  Job job = pipeline_job(1, 1, PipelineOrder::asas, 1);
  EXPECT_EQ(resolve_limits(job, config).micro_batch_tokens, job.limits.max_tokens_in_flight);
  job.pipeline.r1 = 2;
  EXPECT_EQ(resolve_limits(job, config).micro_batch_tokens, 512 + 64);
  job.pipeline.r1 = 0;
  EXPECT_EQ(micro_batches_per_mini_batch(job), 4);
  EXPECT_EQ(resolve_limits(job, config).micro_batch_tokens, 256 + 64);
  job.limits.max_tokens_in_flight = 100;
  EXPECT_EQ(micro_batches_per_mini_batch(job), 2);
}

TEST(PipelineTurns, ColocatedRanksAreRefused) {
  const Job job = pipeline_job(1, 1, PipelineOrder::asas, 0);
  EXPECT_NO_THROW(check_pipeline(job, policy::decide_layout(2, LayoutMode::split, 0, 0)));
  for (const int num_ranks : {1, 2}) {
    try {
      check_pipeline(job, policy::decide_layout(num_ranks, LayoutMode::colocated, 0, 0));
      ADD_FAILURE() << "not refused";
    } catch (const Failure& refused) {
      EXPECT_EQ(refused.code(), ExitCode::bad_usage);
      EXPECT_NE(std::string(refused.what()).find("layout.mode = \"split\""), std::string::npos);
    }
  }
}

}  // namespace
}  // namespace moebius::ranks
