// SPDX-License-Identifier: Apache-2.0
// Capacity in the running engine, on one thread.
#include "ranks/capacity_stage.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine_support.hpp"

namespace moebius::ranks {
namespace {

Job job_with(CapacityMethod method, double gamma) {
  Job job;
  job.schedule.aging_ms = 1e9;
  job.capacity.method = method;
  job.capacity.gamma = gamma;
  job.capacity.min_mean_load = 0;
  return job;
}

constexpr CapacityMethod all_methods[] = {CapacityMethod::drop, CapacityMethod::expanded_drop, CapacityMethod::one_shot, CapacityMethod::reroute};

TEST(CapacityStage, rows_kept_are_rows_sent_and_computed_and_every_request_ends_in_numbers) {
  const TestModel& model = golden_model("qwen3_moe");
  const EngineRun off = run_engines(model, job_with(CapacityMethod::off, 1), 1, some_requests(), 1);
  for (const CapacityMethod method : all_methods) {
    for (const int num_ranks : {1, 3, 4}) {
      for (const CapacityScope scope : {CapacityScope::expert, CapacityScope::device}) {
        SCOPED_TRACE(::testing::Message() << to_string(method) << " on " << num_ranks << ", scope " << to_string(scope));
        Job job = job_with(method, 0.5);
        job.capacity.scope = scope;
        job.layout.mode = num_ranks == 3 ? LayoutMode::colocated : LayoutMode::split;
        const EngineRun run = run_engines(model, job, num_ranks, some_requests(), 5);
        EXPECT_EQ(run.rows_computed, run.pairs_sent);
        EXPECT_EQ(run.outputs_received, run.pairs_sent);
        ASSERT_EQ(run.rows.size(), off.rows.size());
        for (const auto& [key, row] : run.rows) {
          EXPECT_EQ(row.status, RowStatus::ok);
          for (const float logprob : row.token_logprobs) EXPECT_TRUE(std::isfinite(logprob) || row.token_logprobs.size() == 1);
        }
        if (method == CapacityMethod::drop && scope == CapacityScope::expert) {
          EXPECT_LT(run.pairs_sent, off.pairs_sent * 3 / 4);
          EXPECT_NE(run.digest(), off.digest());
        }
      }
    }
  }
}

TEST(CapacityStage, a_large_gamma_and_small_micro_batches_leave_the_bits_alone) {
  for (const std::string name : {"qwen3_moe", "mixtral"}) {
    const TestModel& model = golden_model(name);
    const EngineRun off = run_engines(model, job_with(CapacityMethod::off, 1), 1, some_requests(), 1);
    for (const CapacityMethod method : {CapacityMethod::drop, CapacityMethod::reroute}) {
      EXPECT_EQ(run_engines(model, job_with(method, 1e6), 3, some_requests(), 5).digest(), off.digest());
    }
    for (const CapacityMethod method : all_methods) {
      Job small = job_with(method, 0.1);
      small.capacity.min_mean_load = 1e6;
      const EngineRun run = run_engines(model, small, 3, some_requests(), 6);
      EXPECT_EQ(run.digest(), off.digest()) << to_string(method);
      EXPECT_EQ(run.pairs_sent, off.pairs_sent);
    }
  }
}

TEST(CapacityStage, phases_are_cut_apart) {
  const TestModel& model = golden_model("qwen3_moe");
  const auto pairs = [&](CapacityPhase phase) {
    Job job = job_with(CapacityMethod::drop, 0.01);  // one row per expert and micro-batch
    job.capacity.phase = phase;
    return run_engines(model, job, 1, some_requests(), 3).pairs_sent;
  };
  const std::int64_t off = run_engines(model, job_with(CapacityMethod::off, 1), 1, some_requests(), 3).pairs_sent;
  const std::int64_t all = pairs(CapacityPhase::all), prompts = pairs(CapacityPhase::prompts), generation = pairs(CapacityPhase::generation);
  EXPECT_LT(all, prompts);
  EXPECT_LT(prompts, generation) << "there are more tokens of prompts than generated ones";
  EXPECT_LT(generation, off);
}

TEST(CapacityStage, the_own_group_of_an_attention_rank) {
  const auto ranks = [](std::vector<int> ids) {
    std::vector<RankId> result;
    for (const int id : ids) result.emplace_back(id);
    return result;
  };
  EXPECT_EQ(own_expert_ranks(ranks({0, 1}), ranks({0, 1}), RankId(1)), ranks({1}));
  EXPECT_EQ(own_expert_ranks(ranks({0, 1}), ranks({2, 3, 4, 5}), RankId(1)), ranks({4, 5}));
  EXPECT_EQ(own_expert_ranks(ranks({0, 1, 2}), ranks({3, 4}), RankId(0)), ranks({3}));
  EXPECT_EQ(own_expert_ranks(ranks({0, 1, 2}), ranks({3, 4}), RankId(2)), ranks({4}));
  const TestModel& model = golden_model("qwen3_moe");
  const policy::LinearPlacement placement(std::vector<int>(static_cast<std::size_t>(model.config.num_layers), model.config.num_experts), ranks({0, 1}));
  const auto width = [&](CapacityMethod method) {
    return config_of_rows(job_with(method, 1), model.config, placement, ranks({0, 1}), ranks({0, 1})).experts_per_token;
  };
  const int k = model.config.experts_per_token;
  EXPECT_EQ(width(CapacityMethod::drop), k);
  EXPECT_EQ(width(CapacityMethod::reroute), k);
  EXPECT_EQ(width(CapacityMethod::expanded_drop), std::min(model.config.num_experts, k + model.config.num_experts / 2));
}

}  // namespace
}  // namespace moebius::ranks
