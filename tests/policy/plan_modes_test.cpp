// SPDX-License-Identifier: Apache-2.0
#include "policy/plan_modes.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "policy/plan_advice.hpp"

namespace moebius::policy {
namespace {

using ::testing::HasSubstr;

constexpr EmulatedModel all_models[] = {EmulatedModel::mixtral_8x7b, EmulatedModel::qwen3_30b_a3b, EmulatedModel::qwen3_235b_a22b, EmulatedModel::deepseek_v2_lite,
                                        EmulatedModel::deepseek_v3};
constexpr EmulatedLink all_links[] = {EmulatedLink::nvlink, EmulatedLink::pcie, EmulatedLink::network};

Job::Limits limits() {
  Job::Limits limits;
  limits.max_tokens_in_flight = 8192;
  limits.segment_tokens = 256;
  limits.kv_tokens = 1 << 20;
  return limits;
}

/// Weights as they would be held, at 2 GB of everything else.
PlanMemory memory_of(const StageTimes& times) {
  const ModelConfig& config = times.model().config;
  const double bytes = times.model().weight_bytes, hidden = config.hidden_size;
  const double attention = config.num_layers * hidden * hidden * 3 + 2 * hidden * config.vocab_size;
  return {.of_any = {{"program", 2'000'000'000, ""}},
          .of_attention = {{"attention weights", static_cast<std::int64_t>(attention * bytes), ""}, {"KV cache", 4'000'000'000, ""}},
          .expert_bytes = static_cast<std::int64_t>(3 * hidden * config.moe_intermediate_size * bytes),
          .moe_layers = static_cast<int>(std::ranges::count(config.moe_layer, 1)),
          .num_experts = config.num_experts,
          .rank_limit_bytes = 80'000'000'000,
          .limit = "h100"};
}

PlanQuestion question_of(EmulatedModel model, EmulatedLink link, int num_ranks) {
  Job job;
  job.emulation.device = EmulatedDevice::h100;
  job.emulation.model = model;
  job.emulation.link = link;
  const Emulation emulation = *make_emulation(job, published_model(model).config);
  const RequestShape requests[] = {{.prompt_tokens = 2048, .scored_tokens = 2048, .count = 100'000}};
  return {.times = emulation.times, .link = emulation.link, .num_ranks = num_ranks, .phases = phases_of(requests, limits()),
          .limits = {.micro_batch_tokens = 8192, .expert_rows = 1e9}, .memory = memory_of(emulation.times)};
}

const PlannedMode& find(const std::vector<PlannedMode>& modes, PlanMode mode) { return *std::ranges::find(modes, mode, &PlannedMode::mode); }

// Work --------------------------------------------------------------------------------------------

TEST(PlanWork, PhasesAreTheSumsOverSegments) {
  Job::Limits small = limits();
  small.segment_tokens = 4;
  small.max_tokens_in_flight = 64;
  const RequestShape requests[] = {{.prompt_tokens = 12, .scored_tokens = 12, .count = 10}, {.prompt_tokens = 3, .new_tokens = 5, .choices = 2, .count = 1}};
  const auto phases = phases_of(requests, small);
  ASSERT_EQ(phases.size(), 3U);
  AttentionWork work;  // of one prompt, segment by segment
  for (int begin = 0; begin < 12; begin += 4) work.add_segment(begin, 4, 0);
  EXPECT_EQ(phases[0].tokens(), 120);
  EXPECT_DOUBLE_EQ(phases[0].kv_per_token * 12, static_cast<double>(work.kv_positions));
  EXPECT_DOUBLE_EQ(phases[0].pairs_per_token * 12, static_cast<double>(work.score_pairs));
  EXPECT_EQ(phases[0].scored_per_token, 1);
  EXPECT_EQ(phases[1].tokens(), 3);
  EXPECT_DOUBLE_EQ(phases[1].scored_per_token, 1.0 / 3);  // the first new token comes out of the prompt
  AttentionWork decode;  // four tokens are fed, behind three of the prompt
  for (int position = 3; position < 7; ++position) decode.add_segment(position, 1, 0);
  EXPECT_EQ(phases[2].sequences, 2);
  EXPECT_EQ(phases[2].tokens(), 8);
  EXPECT_DOUBLE_EQ(phases[2].kv_per_token * 4, static_cast<double>(decode.kv_positions));
  EXPECT_DOUBLE_EQ(phases[2].pairs_per_token * 4, static_cast<double>(decode.score_pairs));
}

TEST(PlanWork, BatchesAreThoseOfTheBusiestRank) {
  WorkPhase prompts{.sequences = 10, .tokens_per_sequence = 12, .most_batch_tokens = 20};
  EXPECT_EQ(batch_of(prompts, 3).count, 3);  // four prompts on a rank: 48 tokens
  EXPECT_EQ(batch_of(prompts, 3).tokens, 16);
  WorkPhase generation{.kind = WorkPhase::Kind::generation, .sequences = 10, .tokens_per_sequence = 7, .most_batch_tokens = 3};
  EXPECT_EQ(batch_of(generation, 2).tokens, 2.5);  // five sequences in two waves, of seven steps each
  EXPECT_EQ(batch_of(generation, 2).count, 14);
}

TEST(PlanWork, FewPlacesInTheKvCacheMakeSmallGenerationBatches) {
  Job::Limits small = limits();
  small.kv_tokens = 1000;
  const RequestShape requests[] = {{.prompt_tokens = 80, .new_tokens = 20, .count = 1000}};
  EXPECT_EQ(phases_of(requests, small).back().most_batch_tokens, 10);
}

// Modes -------------------------------------------------------------------------------------------

TEST(PlanModes, BoundsAreNotExceededAndPartsDoNotHurt) {
  for (const EmulatedModel model : all_models) {
    for (const EmulatedLink link : all_links) {
      PlanQuestion question = question_of(model, link, 32);
      for (const int attention_ranks : {8, 16, 24}) {
        question.attention_ranks = attention_ranks;
        const auto modes = plan_modes(question);
        SCOPED_TRACE(::testing::Message() << to_string(model) << ", " << to_string(link) << ", " << attention_ranks);
        EXPECT_GE(find(modes, PlanMode::async_split).tokens_per_s * 1.0001, find(modes, PlanMode::findep).tokens_per_s);
        EXPECT_GE(find(modes, PlanMode::findep).tokens_per_s * 1.001, find(modes, PlanMode::pingpong).tokens_per_s);
        EXPECT_EQ(find(modes, PlanMode::pingpong).main_phase().pipeline.r2, 1);
        EXPECT_EQ(find(modes, PlanMode::findep).counts.attention, attention_ranks);
      }
    }
  }
}

TEST(PlanModes, AFasterLinkNeverMakesAnythingSlower) {
  for (const EmulatedModel model : all_models) {
    PlanQuestion question = question_of(model, EmulatedLink::pcie, 8);
    std::vector<PlannedMode> before = plan_modes(question);
    for (int i = 0; i < 3; ++i) {
      question.link.bytes_per_s *= 2;
      const auto now = plan_modes(question);
      for (std::size_t m = 0; m < now.size(); ++m) EXPECT_GE(now[m].tokens_per_s * 1.0001, before[m].tokens_per_s) << to_string(now[m].mode);
      before = now;
    }
  }
}

TEST(PlanModes, TheBestSplitIsTheBestOfAllSplits) {
  for (const EmulatedModel model : {EmulatedModel::deepseek_v2_lite, EmulatedModel::mixtral_8x7b}) {
    const PlanQuestion question = question_of(model, EmulatedLink::network, 8);
    const auto best = plan_modes(question);
    for (const PlanMode mode : {PlanMode::async_split, PlanMode::pingpong, PlanMode::findep}) {
      double most = 0;
      for (int attention_ranks = 1; attention_ranks < 8; ++attention_ranks) {
        const PlannedMode plan = plan_mode(question, mode, attention_ranks);
        if (plan.fits) most = std::max(most, plan.tokens_per_s);
      }
      EXPECT_EQ(find(best, mode).tokens_per_s, most) << to_string(mode);
    }
  }
}

TEST(PlanModes, KeepWhatTheJobFixes) {
  PlanQuestion question = question_of(EmulatedModel::deepseek_v2_lite, EmulatedLink::pcie, 8);
  question.r1 = 3;
  question.r2 = 5;
  question.order = PipelineOrder::aass;
  const PipelineChoice chosen = plan_mode(question, PlanMode::findep, 4).main_phase().pipeline;
  EXPECT_EQ(chosen.r1, 3);
  EXPECT_EQ(chosen.r2, 5);
  EXPECT_EQ(chosen.order, PipelineOrder::aass);
  question.order = PipelineOrder::fused;
  EXPECT_EQ(plan_mode(question, PlanMode::findep, 4).main_phase().pipeline.order, PipelineOrder::fused);
}

TEST(PlanModes, AdvisesAgainstSeparateGroupsWhereTheyLose) {
  const PlanQuestion small = question_of(EmulatedModel::deepseek_v2_lite, EmulatedLink::pcie, 8);
  const auto modes = plan_modes(small);
  ASSERT_EQ(best_mode(modes)->mode, PlanMode::replicate);
  EXPECT_THAT(recommendation(small, modes, *best_mode(modes)), HasSubstr("Use layout.mode = \"replicate\""));
  EXPECT_LT(find(modes, PlanMode::findep).tokens_per_s, find(modes, PlanMode::replicate).tokens_per_s);
  EXPECT_THAT(recommendation(small, modes, find(modes, PlanMode::lockstep)), HasSubstr("disaggregation loses here"));
}

TEST(PlanModes, TakesAPipelineWhereItHidesTheLinks) {
  // What crosses links takes as long as what is computed: lock-step adds the two, a pipeline does not.
  PlanQuestion question = question_of(EmulatedModel::mixtral_8x7b, EmulatedLink::pcie, 16);
  question.memory.rank_limit_bytes = 40'000'000'000;
  const auto modes = plan_modes(question);
  ASSERT_FALSE(find(modes, PlanMode::replicate).fits);
  const PlannedMode best = *best_mode(modes);
  EXPECT_TRUE(is_pipeline(best.mode)) << to_string(best.mode);
  const std::string advice = recommendation(question, modes, best);
  EXPECT_THAT(advice, HasSubstr("pipeline.r1 = "));
  EXPECT_THAT(advice, HasSubstr("of lockstep"));
  EXPECT_THAT(advice, HasSubstr("does not fit into a rank"));
  const auto changes = what_would_change(question, modes);
  ASSERT_EQ(changes.size(), 2U);
  EXPECT_THAT(changes[0], HasSubstr("With links ten times as fast"));
  EXPECT_THAT(changes[1], HasSubstr("With 32 ranks"));
}

TEST(PlanModes, WhatDoesNotFitIsNotTakenAndEnoughRanksAreNamed) {
  PlanQuestion question = question_of(EmulatedModel::deepseek_v3, EmulatedLink::nvlink, 2);
  const auto modes = plan_modes(question);
  ASSERT_FALSE(best_mode(modes).has_value());
  const int enough = ranks_that_fit(question);
  EXPECT_THAT(refusal(question, modes), HasSubstr("use " + std::to_string(enough) + " such ranks or more"));
  EXPECT_THAT(refusal(question, modes), HasSubstr("expert weights"));
  question.num_ranks = enough;
  EXPECT_TRUE(best_mode(plan_modes(question)).has_value()) << enough;
  question.num_ranks = enough / 2;
  EXPECT_FALSE(best_mode(plan_modes(question)).has_value()) << enough;
  question.memory.rank_limit_bytes = 1'000'000'000;
  EXPECT_EQ(ranks_that_fit(question), 0);  // not even the program
}

TEST(PlanModes, EverySplitOf256RanksIsPlannedWithFewSchedules) {
  for (const EmulatedModel model : all_models) {
    for (const EmulatedLink link : all_links) {
      const auto modes = plan_modes(question_of(model, link, 256));
      EXPECT_LT(find(modes, PlanMode::findep).main_phase().pipeline.num_evaluations, 2'000) << to_string(model);
      EXPECT_LT(find(modes, PlanMode::findep).main_phase().pipeline.num_recurrences, 500) << to_string(model);
    }
  }
}

// Memory ------------------------------------------------------------------------------------------

TEST(PlanMemory, CountsEachPieceOnceForEachWhoHasIt) {
  PlanMemory memory{.of_any = {{"program", 1, ""}}, .of_attention = {{"attention weights", 10, ""}, {"scratch", 2, ""}}, .of_experts = {{"scratch", 3, ""}},
                    .expert_bytes = 100, .moe_layers = 2, .num_experts = 7, .queue_bytes_of_source = 1000, .ring_bytes = [](int sources) { return 10'000 * sources; }};
  using Form = RoleCounts::Form;
  // Seven experts on three ranks: three on the fullest.
  EXPECT_EQ(sum_of(needs_of(memory, {2, 3, Form::split}).experts), 1 + 3 + 2 * 3 * 100 + 2 * 1000 + 2 * 30'000);
  EXPECT_EQ(sum_of(needs_of(memory, {2, 3, Form::split}).attention), 1 + 12 + 3 * 30'000);
  EXPECT_EQ(rank_bytes(memory, {3, 3, Form::colocated}), 1 + 10 + 5 + 600 + 2 * 1000 + 4 * 30'000);
  EXPECT_EQ(rank_bytes(memory, {3, 3, Form::replicated}), 1 + 10 + 5 + 1400);
  EXPECT_EQ(node_bytes(memory, {3, 3, Form::replicated}), 3 * 1416);
  memory.shared_kind = "attention weights";
  EXPECT_EQ(node_bytes(memory, {3, 3, Form::replicated}), 3 * 1416 - 20);
  memory.node_limit_bytes = 3 * 1416 - 20;
  EXPECT_TRUE(fits(memory, {3, 3, Form::replicated}));
  memory.rank_limit_bytes = 1415;
  EXPECT_FALSE(fits(memory, {3, 3, Form::replicated}));
}

}  // namespace
}  // namespace moebius::policy
