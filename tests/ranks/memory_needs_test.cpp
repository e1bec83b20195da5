// SPDX-License-Identifier: Apache-2.0
// What a plan counts is what the objects of a rank then hold.
#include "ranks/memory_needs.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include "model/attention_stack.hpp"
#include "model/expert_stack.hpp"
#include "ranks/expert_plan.hpp"
#include "ranks/rank_engine.hpp"
#include "tests/support/random_model.hpp"

namespace moebius::ranks {
namespace {

std::int64_t bytes_of(const std::vector<policy::MemoryNeed>& needs, const std::string& kind) {
  std::int64_t bytes = 0;
  for (const policy::MemoryNeed& need : needs) bytes += need.kind == kind ? need.bytes : 0;
  return bytes;
}

TEST(MemoryNeeds, AreWhatTheObjectsOfARankHold) {
  for (const ModelConfig& config :
       {test::odd_model_config(), test::odd_window_config(), test::odd_clipped_config(), test::odd_latent_config()}) {
    for (const ComputeType compute : {ComputeType::fp32, ComputeType::bf16}) {
      const test::RandomModel model(config, DType::bf16, 5);
      Job job;
      job.model.compute = compute;
      const Job::Limits limits = resolve_limits(job, config);
      const policy::RankLayout layout = policy::decide_layout(3, LayoutMode::split, 2, 1);
      const auto placement = place_experts(job, config, layout);
      const auto needs = memory_needs(job, config, layout, *placement, comm::FastPath::on, [](RankId rank) { return rank.value; });
      ASSERT_EQ(needs.size(), 3U);

      const model::AttentionStack attention(config, compute, model.lookup(), limits.micro_batch_tokens);
      const std::int64_t held = static_cast<std::int64_t>(attention.bytes()) - bytes_of(needs[0].shared, "attention weights");
      EXPECT_LE(held, bytes_of(needs[0].own, "scratch")) << config.model_type;
      EXPECT_GE(held * 2, bytes_of(needs[0].own, "scratch")) << config.model_type;
      const model::KvCache kv(attention.kv_layout(), config.num_layers,
                              (limits.kv_tokens + model::KvCache::block_tokens - 1) / model::KvCache::block_tokens);
      EXPECT_EQ(bytes_of(needs[0].own, "KV cache"), static_cast<std::int64_t>(kv.bytes()));
      const model::TokenStates states(config, compute, limits.max_tokens_in_flight);
      EXPECT_EQ(bytes_of(needs[1].own, "tokens in flight"), static_cast<std::int64_t>(states.bytes()));
      EXPECT_EQ(bytes_of(needs[0].own, "expert weights"), 0);

      std::vector<model::HostedExpert> hosted;
      for (const policy::HostedExpert& expert : placement->hosted(RankId(2))) hosted.push_back({expert.layer, expert.expert});
      const model::ExpertStack experts(config, compute, model.lookup(), hosted, limits.expert_rows);
      EXPECT_EQ(bytes_of(needs[2].own, "expert weights"), static_cast<std::int64_t>(experts.weight_bytes()));
      EXPECT_TRUE(needs[2].shared.empty());
      EXPECT_EQ(bytes_of(needs[2].own, "KV cache"), 0);
    }
  }
}

TEST(MemoryNeeds, AreAllExpertsAndNoRingsWhereRanksHaveWholeModels) {
  const ModelConfig config = test::odd_model_config();
  const Job job;
  const auto needs_of = [&](int num_ranks) {
    const policy::RankLayout layout = policy::decide_layout(num_ranks, LayoutMode::replicate, 0, 0);
    return memory_needs(job, config, layout, *place_experts(job, config, layout), comm::FastPath::off, [](RankId) { return 0; });
  };
  const auto alone = needs_of(1), three = needs_of(3);
  ASSERT_EQ(three.size(), 3U);
  for (const policy::RankMemory& rank : three) {
    EXPECT_GT(bytes_of(rank.own, "expert weights"), 0);
    EXPECT_EQ(bytes_of(rank.own, "expert weights"), bytes_of(alone[0].own, "expert weights"));
    EXPECT_EQ(bytes_of(rank.own, "expert queues"), 0);
    EXPECT_EQ(bytes_of(rank.own, "rings"), 0);
  }
}

TEST(MemoryNeeds, ArePrivateWhereRanksDoNotShareAndHugeLimitsStayHuge) {
  const ModelConfig config = test::odd_model_config();
  Job job;
  job.limits.kv_tokens = std::int64_t{1} << 55;
  const policy::RankLayout layout = policy::decide_layout(2, LayoutMode::colocated, 0, 0);
  const auto needs = memory_needs(job, config, layout, *place_experts(job, config, layout), comm::FastPath::off, [](RankId) { return 0; });
  ASSERT_EQ(needs.size(), 2U);
  EXPECT_TRUE(needs[1].shared.empty());
  // Only rows that travel are stored: none on one node that shares, else those of the other rank.
  const auto sharing = memory_needs(job, config, layout, *place_experts(job, config, layout), comm::FastPath::on, [](RankId) { return 0; });
  EXPECT_EQ(bytes_of(sharing[1].own, "expert queues"), 0);
  const std::int64_t row_bytes = config.hidden_size * 4;
  EXPECT_EQ(bytes_of(needs[1].own, "expert queues"), row_bytes * resolve_limits(job, config).max_tokens_in_flight);
  EXPECT_GT(bytes_of(needs[1].own, "attention weights"), 0);
  EXPECT_GE(bytes_of(needs[1].own, "KV cache"), std::int64_t{1} << 60);
  EXPECT_THROW(check_memory(needs, std::vector<policy::NodeMemory>{{std::int64_t{1} << 50, "a machine"}}), Failure);
}

}  // namespace
}  // namespace moebius::ranks
