// SPDX-License-Identifier: Apache-2.0
// The promise of the project on one thread: whatever the layout, the limits, the scheduler and the
// interleaving of ranks, every row has the same bits, and rows sent = computed = returned.
#include <gtest/gtest.h>

#include <cmath>

#include "engine_support.hpp"
#include "support/reference_model.hpp"

namespace moebius::ranks {
namespace {

/// Log-likelihoods with several continuations, rolling texts, and sampled and greedy generations.
std::vector<Request> mixed_requests() {
  std::mt19937_64 random(11);
  std::vector<Request> requests;
  for (int i = 0; i < 10; ++i) {
    Request request;
    request.custom_id = std::to_string(i);
    request.input_line = i + 1;
    request.context = random_tokens(random, 1 + static_cast<int>(random() % 70));
    switch (i % 3) {
      case 0:
        request.kind = RequestKind::loglikelihood;
        for (int c = 0; c < 3; ++c) request.continuations.emplace_back(random_tokens(random, 1 + 5 * c));
        break;
      case 1: request.kind = RequestKind::loglikelihood_rolling; break;
      default:
        request.kind = RequestKind::completion;
        request.num_choices = 2;
        request.sampling = {.temperature = i % 2 == 0 ? 0.0 : 1.0, .max_tokens = 9, .num_logprobs = 2};
    }
    requests.push_back(std::move(request));
  }
  return requests;
}

Job small_job() {
  Job job;
  // Wall time must not steer a test that repeats from its seed.
  job.schedule.aging_ms = 1e9;
  job.schedule.gather_short_batches = false;
  return job;
}

void expect_conserved(const EngineRun& run) {
  EXPECT_EQ(run.pairs_sent, run.rows_computed);
  EXPECT_EQ(run.pairs_sent, run.outputs_received);
}

struct Case {
  int num_ranks;
  LayoutMode mode;
  int attention_ranks;
  SchedulerKind scheduler;
  int budget;
};

class EngineInvariance : public ::testing::TestWithParam<ComputeType> {};

TEST_P(EngineInvariance, BitsDoNotDependOnLayoutLimitsSchedulerOrInterleaving) {
  Job job = small_job();
  job.model.compute = GetParam();
  const std::vector<Request> requests = mixed_requests();
  const EngineRun alone = run_engines(golden_model(), job, 1, requests, 1);
  ASSERT_EQ(alone.rows.size(), 3U * 4 + 3 + 2 * 3);
  expect_conserved(alone);
  const Case cases[] = {{2, LayoutMode::split, 1, SchedulerKind::defrag, 1024}, {3, LayoutMode::split, 2, SchedulerKind::mtfs, 7},
                        {4, LayoutMode::split, 1, SchedulerKind::flfs, 33},     {5, LayoutMode::colocated, 0, SchedulerKind::mbflfs, 64},
                        {2, LayoutMode::colocated, 0, SchedulerKind::defrag, 1}, {7, LayoutMode::split, 3, SchedulerKind::defrag, 20}};
  std::uint64_t seed = 100;
  for (const Case& c : cases) {
    job.layout = {.mode = c.mode, .attention_ranks = c.attention_ranks, .expert_ranks = 0};
    job.schedule.scheduler = c.scheduler;
    job.limits = {.max_tokens_in_flight = c.budget, .segment_tokens = 1 + c.budget / 4, .micro_batch_tokens = 16, .expert_rows = 5};
    ++seed;
    job.schedule.group_expert_calls = seed % 3 != 0;
    for (const Rows rows : {Rows::travel, Rows::in_place}) {
      const EngineRun run = run_engines(golden_model(), job, c.num_ranks, requests, seed, 1 + static_cast<int>(seed % 3), rows);
      EXPECT_EQ(to_hex(run.digest()), to_hex(alone.digest()))
          << c.num_ranks << " ranks, seed " << seed << (rows == Rows::travel ? ", rows travel" : ", rows in place");
      expect_conserved(run);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Compute, EngineInvariance, ::testing::Values(ComputeType::fp32, ComputeType::bf16),
                         [](const auto& compute) { return to_string(compute.param); });

TEST(Engine, OrderOfRequestsDoesNotChangeRows) {
  std::vector<Request> requests = mixed_requests();
  const EngineRun forward = run_engines(golden_model(), small_job(), 1, requests, 1);
  std::ranges::reverse(requests);
  const EngineRun backward = run_engines(golden_model(), small_job(), 3, requests, 2);
  EXPECT_EQ(forward.digest(), backward.digest());
}

std::vector<Request> generations(int count, int prompt_tokens, int new_tokens) {
  std::mt19937_64 random(11);
  std::vector<Request> requests;
  for (int i = 0; i < count; ++i) {
    requests.push_back({.custom_id = "g", .input_line = i + 1, .kind = RequestKind::generate_until, .context = random_tokens(random, prompt_tokens)});
    requests.back().sampling.max_tokens = new_tokens;
  }
  return requests;
}

// Rows of two ranks come back to each a few at a time; calls are made so long that waiting for the rest pays.
TEST(Engine, ShortBatchesAreGatheredWhereAPassCostsMuchAndTheBitsStay) {
  const std::vector<Request> requests = generations(12, 3, 10);
  Job job = small_job();
  job.layout.mode = LayoutMode::colocated;
  job.schedule.group_expert_calls = false;
  job.placement.emulated_slowdown = {200, 200};
  const EngineRun at_once = run_engines(golden_model(), job, 2, requests, 5);
  job.schedule.gather_short_batches = true;
  std::int64_t fewest = at_once.micro_batches;
  for (int attempt = 0; attempt < 5 && 4 * fewest >= 3 * at_once.micro_batches; ++attempt) {  // others may take the core away
    const EngineRun gathered = run_engines(golden_model(), job, 2, requests, 5);
    EXPECT_EQ(gathered.digest(), at_once.digest());
    fewest = std::min(fewest, gathered.micro_batches);
  }
  EXPECT_LT(4 * fewest, 3 * at_once.micro_batches) << fewest << " of " << at_once.micro_batches;
}

// Outputs of one expert after the other let segments go on one at a time, each with a pass of its own over the next layer.
TEST(Engine, GroupedExpertCallsKeepBatchesWholeAndTheBits) {
  const std::vector<Request> requests = generations(12, 3, 10);
  for (const Rows rows : {Rows::travel, Rows::in_place}) {
    Job job = small_job();
    job.schedule.group_expert_calls = false;
    const EngineRun single = run_engines(golden_model(), job, 2, requests, 5, 1, rows);
    job.schedule.group_expert_calls = true;
    const EngineRun grouped = run_engines(golden_model(), job, 2, requests, 5, 1, rows);
    EXPECT_EQ(to_hex(grouped.digest()), to_hex(single.digest()));
    expect_conserved(grouped);
    EXPECT_LT(2 * grouped.micro_batches, single.micro_batches);
    EXPECT_LT(grouped.expert_calls, single.expert_calls);
  }
}

TEST(Engine, SlowMotionDoesNotChangeRows) {
  const std::vector<Request> requests = mixed_requests();
  const EngineRun real = run_engines(golden_model(), small_job(), 1, requests, 1);
  Job job = small_job();
  job.emulation = {.device = EmulatedDevice::h100, .link = EmulatedLink::network, .dilation = 1};
  for (const LayoutMode mode : {LayoutMode::split, LayoutMode::colocated}) {
    job.layout.mode = mode;
    for (const Rows rows : {Rows::in_place, Rows::travel}) {
      const EngineRun slow = run_engines(golden_model(), job, 3, requests, 2, 2, rows);
      EXPECT_EQ(slow.digest(), real.digest());
      expect_conserved(slow);
    }
  }
}

TEST(Engine, ContinuationsOfOneContextHaveTheBitsOfEachAlone) {
  std::mt19937_64 random(5);
  Request together{.custom_id = "x", .input_line = 1, .kind = RequestKind::loglikelihood, .context = random_tokens(random, 45)};
  for (int c = 0; c < 4; ++c) together.continuations.emplace_back(random_tokens(random, 2 + 9 * c));
  const EngineRun shared = run_engines(golden_model(), small_job(), 2, {together}, 3);
  for (int c = 0; c < 4; ++c) {
    Request alone = together;
    alone.continuations = {together.continuations[static_cast<std::size_t>(c)]};
    const EngineRun single = run_engines(golden_model(), small_job(), 1, {alone}, 4);
    EXPECT_EQ(single.rows.at({1, 0}).token_logprobs, shared.rows.at({1, c}).token_logprobs) << "continuation " << c;
  }
}

TEST(Engine, LogProbsAreThoseOfTheReferenceModel) {
  std::mt19937_64 random(6);
  const std::vector<TokenId> context = random_tokens(random, 40), continuation = random_tokens(random, 20);
  const Request request{.custom_id = "x", .input_line = 1, .kind = RequestKind::loglikelihood, .context = context, .continuations = {continuation}};
  const EngineRun run = run_engines(golden_model(), small_job(), 3, {request}, 7);
  std::vector<TokenId> all = context;
  all.insert(all.end(), continuation.begin(), continuation.end());
  const test::ReferenceModel<double> reference(golden_model().config, golden_model().tensors);
  const auto expected = reference.run(all).token_logprobs;  // of token p + 1 given 0..p
  const Row& row = run.rows.at({1, 0});
  double sum = 0;
  for (std::size_t i = 0; i < continuation.size(); ++i) {
    const auto want = static_cast<double>(expected[context.size() - 1 + i]);
    EXPECT_NEAR(row.token_logprobs[i], want, 1e-4) << "token " << i;
    sum += want;
  }
  EXPECT_NEAR(row.sum_logprob, sum, 1e-3);
}

TEST(Engine, FullRingsRefuseAndNothingIsLost) {
  Job job = small_job();
  job.layout.attention_ranks = 3;
  job.limits.micro_batch_tokens = 64;
  const EngineRun run = run_engines(golden_model(), job, 4, mixed_requests(), 12, 1);
  expect_conserved(run);
  EXPECT_GT(run.refused, 0);
  EXPECT_EQ(run.digest(), run_engines(golden_model(), small_job(), 1, mixed_requests(), 1).digest());
}

TEST(Engine, LittleKvMakesRequestsWaitAndTooLittleFailsTheRow) {
  Job job = small_job();
  job.limits.kv_tokens = 128;
  const std::vector<Request> requests = mixed_requests();
  EXPECT_EQ(run_engines(golden_model(), job, 2, requests, 9).digest(),
            run_engines(golden_model(), small_job(), 1, requests, 1).digest());
  job.limits.kv_tokens = 32;
  std::mt19937_64 random(8);
  const Request large{.custom_id = "x", .input_line = 1, .kind = RequestKind::loglikelihood_rolling, .context = random_tokens(random, 100)};
  const EngineRun run = run_engines(golden_model(), job, 2, {large}, 10);
  EXPECT_EQ(run.rows.at({1, 0}).status, RowStatus::too_long);
}

}  // namespace
}  // namespace moebius::ranks
