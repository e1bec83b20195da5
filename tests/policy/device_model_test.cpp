// SPDX-License-Identifier: Apache-2.0
// Stage times against numbers worked out by hand, published sizes against the published numbers of parameters.
#include "policy/device_model.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/failure.hpp"

namespace moebius::policy {
namespace {

using ::testing::HasSubstr;

/// 100 flops and 50 bytes a second are reached.
Device small_device() {
  return {.name = "small", .flops = 200, .bytes_per_s = 100, .efficiency = 0.5, .attention_efficiency = 0.5, .expert_overhead_s = 1, .attention_overhead_s = 2, .row_tile = 4};
}

ModelSizes small_model() {
  ModelSizes sizes{.name = "small", .config = {}, .weight_bytes = 2, .kv_bytes = 2, .hidden_bytes = 1, .output_bytes = 2};
  ModelConfig& config = sizes.config;
  config.hidden_size = 8;
  config.num_heads = 2;
  config.num_kv_heads = 1;
  config.head_dim = 4;
  config.moe_intermediate_size = 5;
  config.intermediate_size = 10;
  config.shared_intermediate_size = 6;
  config.num_experts = 16;
  config.experts_per_token = 2;
  config.vocab_size = 20;
  return sizes;
}

TEST(StageTimes, ExpertCallsReadTheirWeightsOrComputeWholeTiles) {
  const StageTimes times(small_device(), small_model());
  // 3 x 8 x 5 = 120 weights: 240 bytes / 50 = 4.8 s. 1 to 4 rows: 2 x 4 x 120 = 960 flops / 100 = 9.6 s.
  EXPECT_DOUBLE_EQ(times.expert_s(1), 9.6);
  EXPECT_DOUBLE_EQ(times.expert_s(4), 9.6);
  EXPECT_DOUBLE_EQ(times.expert_s(5), 19.2);
  EXPECT_DOUBLE_EQ(times.expert_call_s(5), 20.2);
  EXPECT_EQ(times.expert_call_s(0), 0);
  Device lazy = small_device();
  lazy.attention_efficiency = 0.01;  // is none of theirs
  EXPECT_DOUBLE_EQ(StageTimes(lazy, small_model()).expert_call_s(5), 20.2);
  Device fast = small_device();
  fast.flops = 2000;  // 0.96 s of products: the weights decide
  EXPECT_DOUBLE_EQ(StageTimes(fast, small_model()).expert_s(4), 4.8);
  EXPECT_DOUBLE_EQ(StageTimes(fast, small_model()).expert_s(24), 5.76);
}

TEST(StageTimes, AttentionReadsKeysBesideItsProducts) {
  const StageTimes times(small_device(), small_model());
  AttentionWork work;
  work.add_segment(3, 2, 0);  // positions 3 and 4: 5 keys are read, 4 + 5 scored
  EXPECT_EQ(work.rows, 2);
  EXPECT_EQ(work.kv_positions, 5);
  EXPECT_EQ(work.score_pairs, 9);
  // Weights 8 x 4 x (2 x 2 + 2 x 1) = 192. A pair: 2 heads x 4 x 2 products x 2 = 32 flops. A position: 2 x 4 numbers of 2 bytes.
  // 2 + max(384 / 50, (2 x 4 x 192 + 9 x 32) / 100) + 5 x 16 / 50
  EXPECT_DOUBLE_EQ(times.attention_s(work), 2 + 18.24 + 1.6);
  AttentionWork windowed;
  windowed.add_segment(3, 4, 5);  // positions 3..6 see 4, 5, 5, 5 of the keys 0..6, of which 2 + 1 are beyond the first window
  EXPECT_EQ(windowed.score_pairs, 19);
  EXPECT_EQ(windowed.kv_positions, 7);
  AttentionWork late;
  late.add_segment(100, 1, 5);
  EXPECT_EQ(late.score_pairs, 5);
  EXPECT_EQ(late.kv_positions, 5);
}

// A row that stands for four tokens takes as long as four rows, and so do its keys and messages.
TEST(StageTimes, ARowMayStandForSeveralTokens) {
  ModelSizes scaled = small_model();
  scaled.tokens_per_row = 4;
  const StageTimes one(small_device(), small_model()), four(small_device(), scaled);
  for (const std::int64_t rows : {1, 2, 5}) {
    EXPECT_DOUBLE_EQ(four.expert_call_s(rows), one.expert_call_s(4 * rows));
    EXPECT_DOUBLE_EQ(four.shared_experts_s(rows), one.shared_experts_s(4 * rows));
    EXPECT_DOUBLE_EQ(four.router_s(rows), one.router_s(4 * rows));
    EXPECT_DOUBLE_EQ(four.combine_s(rows), one.combine_s(4 * rows));
    EXPECT_DOUBLE_EQ(four.lm_head_s(rows), one.lm_head_s(4 * rows));
    EXPECT_DOUBLE_EQ(four.dispatch_bytes(rows, 2 * rows), one.dispatch_bytes(4 * rows, 8 * rows));
    EXPECT_DOUBLE_EQ(four.outputs_bytes(rows), one.outputs_bytes(4 * rows));
  }
  EXPECT_DOUBLE_EQ(four.attention_s({.rows = 2, .kv_positions = 5, .score_pairs = 9}), one.attention_s({.rows = 8, .kv_positions = 20, .score_pairs = 144}));
}

TEST(StageTimes, TheOtherStages) {
  const StageTimes times(small_device(), small_model());
  EXPECT_DOUBLE_EQ(times.router_s(3), 2 * 4 * 128 / 100.0);
  EXPECT_DOUBLE_EQ(times.combine_s(3), 3 * 8 * (2 * 2 + 2 * 4) / 50.0);
  EXPECT_DOUBLE_EQ(times.shared_experts_s(2), 1 + 2 * 4 * 144 / 100.0);
  EXPECT_DOUBLE_EQ(times.dense_mlp_s(2), 1 + 2 * 4 * 240 / 100.0);
  EXPECT_DOUBLE_EQ(times.lm_head_s(2), 2 + 2 * 4 * 160 / 100.0);
  EXPECT_EQ(times.lm_head_s(0), 0);
  Device lazy = small_device();
  lazy.attention_efficiency = 0.25;
  const StageTimes longer(lazy, small_model());
  EXPECT_DOUBLE_EQ(longer.router_s(3), 2 * times.router_s(3));
  EXPECT_DOUBLE_EQ(longer.combine_s(3), 2 * times.combine_s(3));
  EXPECT_DOUBLE_EQ(longer.lm_head_s(2) - 2, 2 * (times.lm_head_s(2) - 2));
  EXPECT_DOUBLE_EQ(longer.attention_s({2, 5, 9}) - 2, 2 * (times.attention_s({2, 5, 9}) - 2));
  EXPECT_DOUBLE_EQ(longer.shared_experts_s(2), times.shared_experts_s(2));
  EXPECT_DOUBLE_EQ(times.dispatch_bytes(3, 5), 3 * 8 + 5 * 8);
  EXPECT_DOUBLE_EQ(times.outputs_bytes(5), 5 * (16 + 8));
}

/// All weights of a model, embedding and head included.
double parameters(const ModelSizes& sizes) {
  const ModelConfig& c = sizes.config;
  // A device that reads one weight a second and computes at once lasts so many seconds for them.
  const StageTimes times({.name = "", .flops = 1e300, .bytes_per_s = sizes.weight_bytes}, sizes);
  double sum = 2 * times.lm_head_s(1);
  for (const auto moe : c.moe_layer) {
    sum += times.attention_s({});
    sum += moe != 0 ? c.num_experts * times.expert_s(1) + times.router_s(1) + times.shared_experts_s(1) : times.dense_mlp_s(1);
  }
  return sum;
}

TEST(PublishedModels, HaveThePublishedNumberOfParameters) {
  using enum EmulatedModel;
  // As the model cards give them: 46.7, 30.5, 235, 15.7, 236 and 671 billion.
  EXPECT_NEAR(parameters(published_model(mixtral_8x7b)), 46.7e9, 0.05e9);
  EXPECT_NEAR(parameters(published_model(qwen3_30b_a3b)), 30.5e9, 0.05e9);
  EXPECT_NEAR(parameters(published_model(qwen3_235b_a22b)), 235e9, 0.5e9);
  EXPECT_NEAR(parameters(published_model(deepseek_v2_lite)), 15.7e9, 0.05e9);
  EXPECT_NEAR(parameters(published_model(deepseek_v2)), 236e9, 0.5e9);
  EXPECT_NEAR(parameters(published_model(deepseek_v3)), 671e9, 1e9);
}

TEST(PublishedModels, LatentAttentionKeepsFewNumbersOfAPosition) {
  const ModelSizes sizes = published_model(EmulatedModel::deepseek_v3);
  const StageTimes times({.name = "", .flops = 1e300, .bytes_per_s = 1}, sizes);
  EXPECT_DOUBLE_EQ(times.attention_s({.kv_positions = 1}) - times.attention_s({}), 2 * 576);
}

std::string refusal(const Job& job, const ModelConfig& config) {
  try {
    (void)make_emulation(job, config);
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), ExitCode::bad_usage);
    return failure.what();
  }
  return "nothing was refused";
}

TEST(Emulation, TakesPresetsAndNumbersOfTheJob) {
  Job job;
  EXPECT_FALSE(make_emulation(job, small_model().config));
  job.emulation.device = EmulatedDevice::h100;
  auto emulation = make_emulation(job, small_model().config);
  ASSERT_TRUE(emulation);
  EXPECT_EQ(emulation->times.device().flops, 989e12);
  EXPECT_EQ(emulation->times.device().bytes_per_s, 3.35e12);
  EXPECT_EQ(emulation->link.bytes_per_s, 450e9);
  EXPECT_EQ(emulation->dilation, 100);
  EXPECT_EQ(emulation->times.device().attention_efficiency, 0.7);
  EXPECT_EQ(emulation->times.model().weight_bytes, 4);  // own sizes, in fp32
  job.emulation = {.device = EmulatedDevice::a100, .link = EmulatedLink::network, .dilation = 7, .efficiency = 0.25, .attention_efficiency = 0.125, .flops = 5, .bytes_per_s = 6,
                   .expert_overhead_us = 3, .attention_overhead_us = 4, .row_tile = 9, .link_bytes_per_s = 10, .link_latency_us = 11};
  emulation = make_emulation(job, small_model().config);
  const Device& device = emulation->times.device();
  EXPECT_EQ(device.efficiency, 0.25);
  EXPECT_EQ(device.attention_efficiency, 0.125);
  EXPECT_EQ(device.flops, 5);
  EXPECT_EQ(device.bytes_per_s, 6);
  EXPECT_DOUBLE_EQ(device.expert_overhead_s, 3e-6);
  EXPECT_DOUBLE_EQ(device.attention_overhead_s, 4e-6);
  EXPECT_EQ(device.row_tile, 9);
  EXPECT_EQ(emulation->link.bytes_per_s, 10);
  EXPECT_DOUBLE_EQ(emulation->link.latency_s, 11e-6);
  EXPECT_EQ(emulation->dilation, 7);
}

TEST(Emulation, RefusesWhatMakesNoDeviceAndModelsOfAnotherShape) {
  Job job;
  job.emulation.device = EmulatedDevice::custom;
  EXPECT_THAT(refusal(job, small_model().config), HasSubstr("set emulation.flops and emulation.bytes_per_s"));
  job.emulation.device = EmulatedDevice::h100;
  job.emulation.link = EmulatedLink::custom;
  EXPECT_THAT(refusal(job, small_model().config), HasSubstr("set emulation.link_bytes_per_s"));
  job.emulation.link = EmulatedLink::nvlink;
  job.emulation.model = EmulatedModel::mixtral_8x7b;
  const ModelConfig mixtral = published_model(EmulatedModel::mixtral_8x7b).config;
  ModelConfig other = mixtral;
  other.hidden_size = 64;  // sizes may differ
  EXPECT_TRUE(make_emulation(job, other));
  other.experts_per_token = 4;
  EXPECT_THAT(refusal(job, other), HasSubstr("it has 32 layers, 32 of them with 8 experts, and 2 experts for each token; the checkpoint has 32 layers, "
                                             "32 of them with 8 experts, and 4 experts for each token"));
  other = mixtral;
  other.moe_layer[3] = 0;
  EXPECT_THAT(refusal(job, other), HasSubstr("31 of them"));
  other.num_experts = 16;
  job.emulation.shape = EmulatedShape::checkpoint;
  const auto emulation = make_emulation(job, other);
  EXPECT_EQ(emulation->times.model().config.num_experts, 16);
  EXPECT_EQ(emulation->times.model().config.hidden_size, 4096);
  EXPECT_THAT(emulation->times.model().name, HasSubstr("Mixtral-8x7B, but 32 layers, 31 of them with 16 experts"));
}

TEST(DeviceModel, MeasuredCostsTakeThePlaceOfTheRoofline) {
  const StageCosts costs{.attention = {1, 2, 3, 4}, .expert = {5, 6}, .shared = {7, 8}, .dense = {9, 10}, .head = {11, 12}, .link_in_node = {13, 0.5}};
  const StageTimes times("here", costs, published_model(EmulatedModel::mixtral_8x7b));
  EXPECT_EQ(times.attention_s({.rows = 10, .kv_positions = 1000, .score_pairs = 100}), 1 + 20 + 300 + 4000);
  EXPECT_EQ(times.router_s(5) + times.combine_s(5), 0);
  EXPECT_EQ(times.expert_call_s(3), 5 + 18);
  EXPECT_EQ(times.shared_experts_s(2), 7 + 16);
  EXPECT_EQ(times.dense_mlp_s(2), 9 + 20);
  EXPECT_EQ(times.lm_head_s(2), 11 + 24);
  EXPECT_EQ(times.lm_head_s(0), 0);
  EXPECT_EQ(measured_link(costs).message_s(10), 13 + 5);
  Job job;
  job.emulation.device = EmulatedDevice::measured;
  EXPECT_THROW(make_emulation(job, times.model().config), Failure);
  job.plan.costs = costs;
  EXPECT_EQ(make_emulation(job, times.model().config)->times.expert_call_s(3), 23);
}

}  // namespace
}  // namespace moebius::policy
