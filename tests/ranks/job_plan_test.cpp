// SPDX-License-Identifier: Apache-2.0
#include "ranks/job_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/failure.hpp"
#include "io/job_file.hpp"
#include "ranks/expert_plan.hpp"
#include "ranks/input_shapes.hpp"
#include "ranks/memory_needs.hpp"
#include "tests/support/random_model.hpp"

namespace moebius::ranks {
namespace {

using ::testing::HasSubstr;

std::int64_t bytes_of(const std::vector<policy::MemoryNeed>& needs, const std::string& kind) {
  std::int64_t bytes = 0;
  for (const policy::MemoryNeed& need : needs) bytes += need.kind == kind ? need.bytes : 0;
  return bytes;
}

TEST(PlanMemoryOf, IsWhatMemoryNeedsCountsForEveryLayout) {
  using Form = policy::RoleCounts::Form;
  const ModelConfig config = test::odd_model_config();
  Job job;
  for (const auto sharing : {comm::FastPath::off, comm::FastPath::on}) {
    const policy::PlanMemory memory = plan_memory_of(job, config, sharing);
    for (const auto& [mode, counts] : {std::pair{LayoutMode::split, policy::RoleCounts{2, 3, Form::split}}, {LayoutMode::split, {1, 1, Form::split}},
                                       {LayoutMode::colocated, {3, 3, Form::colocated}}, {LayoutMode::replicate, {2, 2, Form::replicated}}}) {
      const policy::RankLayout layout = policy::decide_layout(counts.ranks(), mode, mode == LayoutMode::split ? counts.attention : 0, 0);
      auto needs = memory_needs(job, config, layout, *place_experts(job, config, layout), sharing, [](RankId) { return 0; });
      const policy::RoleNeeds planned = policy::needs_of(memory, counts);
      std::int64_t most = 0;
      for (policy::RankMemory& rank : needs) {
        rank.own.insert(rank.own.end(), rank.shared.begin(), rank.shared.end());
        most = std::max(most, policy::sum_of(rank.own));
      }
      for (const char* kind : {"program", "attention weights", "KV cache", "tokens in flight", "scratch", "expert queues", "rings"}) {
        EXPECT_EQ(bytes_of(planned.attention, kind), bytes_of(needs.front().own, kind)) << kind << ", " << to_string(mode);
        EXPECT_EQ(bytes_of(planned.experts, kind), bytes_of(needs.back().own, kind)) << kind << ", " << to_string(mode);
      }
      EXPECT_GE(policy::rank_bytes(memory, counts), most) << to_string(mode);
    }
  }
}

TEST(InputShapes, CountWhatGoesThroughTheLayers) {
  Request request{.kind = RequestKind::loglikelihood, .context = std::vector<TokenId>(10, 1), .continuations = {std::vector<TokenId>(3, 1), std::string(8, 'x')}};
  policy::RequestShape shape = shape_of(request, 1000);
  EXPECT_EQ(shape.prompt_tokens, 10 + 2 + 1);
  EXPECT_EQ(shape.scored_tokens, 3 + 2);
  EXPECT_EQ(shape.new_tokens, 0);
  request = {.kind = RequestKind::loglikelihood_rolling, .context = std::string(4 * 2500, 'x')};
  shape = shape_of(request, 1000);
  EXPECT_EQ(shape.count, 3);
  EXPECT_NEAR(shape.prompt_tokens * shape.count, 2500, 1e-9);
  request = {.kind = RequestKind::completion, .context = std::vector<TokenId>(990, 1), .num_choices = 3};
  request.sampling.max_tokens = 100;
  shape = shape_of(request, 1000);
  EXPECT_EQ(shape.new_tokens, 10);
  EXPECT_EQ(shape.choices, 3);
}

ResolvedJob job_with(const std::vector<std::string>& settings) {
  const std::string inputs = std::string(MOEBIUS_SOURCE_DIR) + "/inputs/";
  return io::read_job_text("[model]\npath = \"" + inputs + "models/tiny\"\n[input]\npath = \"" + inputs + "data/endings.jsonl\"\n[output]\npath = \"none\"\n",
                           "job.toml", settings);
}

const policy::PlannedMode& find(const JobPlan& plan, policy::PlanMode mode) { return *std::ranges::find(plan.modes, mode, &policy::PlannedMode::mode); }

TEST(JobPlan, IsMadeFromFilesAlone) {
  const JobPlan plan = plan_job(job_with({"layout.mode=auto"}), 4, {});
  ASSERT_EQ(plan.modes.size(), 6U);
  ASSERT_TRUE(plan.best);
  EXPECT_EQ(plan.best->mode, policy::PlanMode::replicate);
  EXPECT_THAT(plan.devices, HasSubstr("not measured"));
  EXPECT_GT(find(plan, policy::PlanMode::lockstep).link_bytes_per_token, 0);
}

TEST(JobPlan, IsThatOfThePublishedModelWithoutItsCheckpoint) {
  const JobPlan plan = plan_job(job_with({"emulation.device=h100", "emulation.model=deepseek-v3", "model.path=nowhere"}), 32, {.prompt_tokens = 4096});
  const policy::RoleNeeds needs = policy::needs_of(plan.question.memory, find(plan, policy::PlanMode::replicate).counts);
  // 671e9 parameters of a byte each, nearly all of them experts.
  EXPECT_NEAR(static_cast<double>(bytes_of(needs.attention, "attention weights") + bytes_of(needs.attention, "expert weights")), 671e9, 0.02 * 671e9);
  EXPECT_FALSE(find(plan, policy::PlanMode::replicate).fits);
  EXPECT_TRUE(find(plan, policy::PlanMode::lockstep).fits);
}

TEST(JobPlan, KeepsToWhatTheJobFixes) {
  const auto best = [](const std::vector<std::string>& settings) { return plan_job(job_with(settings), 4, {}).best->mode; };
  EXPECT_EQ(best({"layout.mode=auto", "schedule.execution=lockstep"}), policy::PlanMode::lockstep);
  EXPECT_TRUE(policy::is_pipeline(best({"layout.mode=auto", "schedule.execution=pipeline"})));
  EXPECT_TRUE(policy::is_split(best({"layout.mode=split"})));
  EXPECT_NE(best({"layout.mode=auto", "replicas.ratio=1.5"}), policy::PlanMode::replicate);
  EXPECT_EQ(plan_job(job_with({"layout.mode=auto", "schedule.execution=async", "layout.attention_ranks=3"}), 4, {}).best->counts.attention, 3);
  EXPECT_THROW(plan_job(job_with({"layout.attention_ranks=4"}), 4, {}), Failure);
}

TEST(FollowPlan, PutsTheRecommendationIntoTheJob) {
  std::string advice;
  const ResolvedJob followed = follow_plan(job_with({"layout.mode=auto"}), 4, advice);
  EXPECT_EQ(followed.job.layout.mode, LayoutMode::replicate);
  EXPECT_THAT(advice, HasSubstr("replicate"));
  EXPECT_EQ(std::ranges::find(followed.entries, "layout.mode", &JobEntry::key)->origin, "plan");
  EXPECT_EQ(std::ranges::find(followed.entries, "model.path", &JobEntry::key)->origin, "job.toml:2");
  const ResolvedJob split = follow_plan(job_with({"layout.mode=auto", "schedule.execution=pipeline"}), 4, advice);
  EXPECT_EQ(split.job.layout.mode, LayoutMode::split);
  EXPECT_EQ(split.job.layout.attention_ranks + split.job.layout.expert_ranks, 4);
  EXPECT_EQ(split.job.schedule.execution, Execution::pipeline);
  const ResolvedJob as_it_is = follow_plan(job_with({"layout.mode=colocated"}), 4, advice);
  EXPECT_EQ(as_it_is.job.layout.mode, LayoutMode::colocated);
}

TEST(FollowPlan, RefusesWhatFitsInNoWay) {
  std::string advice;
  try {
    follow_plan(job_with({"layout.mode=auto", "emulation.device=h100", "emulation.model=deepseek-v3", "model.path=nowhere"}), 2, advice);
    FAIL() << "671 GB fit into 160";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), ExitCode::does_not_fit);
    EXPECT_THAT(failure.what(), HasSubstr("DeepSeek-V3 does not fit on 2 ranks"));
    EXPECT_THAT(failure.what(), HasSubstr("such ranks or more"));
  }
}

}  // namespace
}  // namespace moebius::ranks
