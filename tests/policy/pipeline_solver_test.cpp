// SPDX-License-Identifier: Apache-2.0
#include "policy/pipeline_solver.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

namespace moebius::policy {
namespace {

PipelineSolver::Parts parts_of(EmulatedModel model, EmulatedLink link) {
  Job job;
  job.emulation.device = EmulatedDevice::h100;
  job.emulation.model = model;
  job.emulation.link = link;
  const Emulation emulation = *make_emulation(job, published_model(model).config);
  return {.times = emulation.times, .link = emulation.link, .limits = {.micro_batch_tokens = 4096, .pipeline_tokens = 1 << 20, .expert_rows = 1e9},
          .counts = {.attention = 8, .experts = 8, .form = RoleCounts::Form::split}, .fixed = {}};
}

/// Prompts of `length` tokens, as segments of 128.
PipelineSolver::MiniBatch prompts(int count, int length) {
  PipelineSolver::MiniBatch batch{.work = {}, .segments = 0, .longest_segment = 128};
  for (int i = 0; i < count; ++i) {
    for (int begin = 0; begin < length; begin += 128, ++batch.segments) batch.work.add_segment(begin, std::min(128, length - begin), 0);
  }
  return batch;
}

/// Makespan for a token of the mini-batch cut into r1 x r2, by the search's own costs.
double seconds_of(const PipelineSolver::Parts& parts, const PipelineSolver::MiniBatch& batch, int r1, int r2, PipelineOrder order) {
  const auto rows = static_cast<double>(batch.work.rows);
  const WorkPhase phase{.segment_tokens = rows / batch.segments, .kv_per_token = static_cast<double>(batch.work.kv_positions) / rows,
                        .pairs_per_token = static_cast<double>(batch.work.score_pairs) / rows};
  const PlanTimes times(parts.times, parts.link, parts.limits, phase);
  const PipelineCosts costs = pipeline_costs(times, parts.counts, phase.segment_tokens, 1);
  const double samples = static_cast<double>(batch.segments) / r1, part = samples / r2;
  const EvenPipeline even{.num_layers = static_cast<int>(std::ranges::count(parts.times.model().config.moe_layer, 1)), .r1 = r1, .r2 = r2,
                          .attention_s = costs.attention(samples), .shared_s = costs.shared(samples), .dispatch_s = costs.dispatch(part),
                          .expert_s = costs.expert(part), .combine_s = costs.combine(part)};
  return pipeline_makespan(even.num_layers, order, micro_batches_of(even));
}

TEST(PipelineSolver, FindsWhatBruteForceFinds) {
  for (const EmulatedModel model : {EmulatedModel::deepseek_v2_lite, EmulatedModel::mixtral_8x7b}) {
    for (const EmulatedLink link : {EmulatedLink::nvlink, EmulatedLink::pcie}) {
      const PipelineSolver::Parts parts = parts_of(model, link);
      for (const auto& batch : {prompts(8, 256), prompts(2, 1024), prompts(3, 128)}) {
        PipelineSolver solver(parts);
        const PipelineChoice chosen = solver.choose(batch);
        double best = 1e30;
        for (int r1 = 1; r1 <= batch.segments; ++r1) {
          for (int r2 = 1; r2 <= 40; ++r2) {
            for (const PipelineOrder order : {PipelineOrder::asas, PipelineOrder::aass}) best = std::min(best, seconds_of(parts, batch, r1, r2, order));
          }
        }
        EXPECT_LE(seconds_of(parts, batch, chosen.r1, chosen.r2, chosen.order), best * (1 + 1e-9)) << to_string(model) << ", " << to_string(link);
      }
    }
  }
}

TEST(PipelineSolver, SearchesOnceForMiniBatchesThatAreAlike) {
  PipelineSolver solver(parts_of(EmulatedModel::qwen3_30b_a3b, EmulatedLink::network));
  std::mt19937_64 random(5);
  const int lengths[] = {100, 1000, 8000};
  for (int i = 0; i < 300; ++i) {
    const int length = lengths[random() % 3];
    solver.choose(prompts(16'000 / length, length + static_cast<int>(random() % 3)));
  }
  EXPECT_GE(solver.num_searches(), 3);
  EXPECT_LE(solver.num_searches(), 12);
  std::int64_t answers = 0;
  for (const auto& [answer, count] : solver.answers()) answers += count;
  EXPECT_EQ(answers, 300);
}

TEST(PipelineSolver, ChangesItsAnswerWithTheLength) {
  PipelineSolver solver(parts_of(EmulatedModel::deepseek_v2_lite, EmulatedLink::pcie));
  for (const int length : {128, 2048, 16384}) solver.choose(prompts(std::max(1, 4096 / length), length));
  for (const int count : {1, 16, 256}) {  // generation: a token of each sequence
    PipelineSolver::MiniBatch batch{.work = {}, .segments = count, .longest_segment = 1};
    for (int i = 0; i < count; ++i) batch.work.add_segment(1000, 1, 0);
    solver.choose(batch);
  }
  EXPECT_GE(solver.answers().size(), 2U);
}

TEST(PipelineSolver, KeepsToTheMicroBatchesThatMemoryHasRoomFor) {
  PipelineSolver::Parts parts = parts_of(EmulatedModel::deepseek_v2_lite, EmulatedLink::nvlink);
  parts.limits.pipeline_tokens = 1000;
  for (const int count : {1, 4, 31, 64}) {
    PipelineSolver solver(parts);
    const auto batch = prompts(count, 128);
    const PipelineChoice choice = solver.choose(batch);
    EXPECT_LE((batch.work.rows + choice.r1 - 1) / choice.r1 + (choice.r1 > 1 ? 127 : 0), 1000) << count;
    EXPECT_LE(choice.r1, batch.segments);
  }
}

TEST(PipelineSolver, KeepsWhatIsFixed) {
  PipelineSolver::Parts parts = parts_of(EmulatedModel::deepseek_v2_lite, EmulatedLink::nvlink);
  parts.fixed = {.r1 = 3, .r2 = 0, .order = PipelineOrder::fused};
  PipelineSolver solver(parts);
  const PipelineChoice choice = solver.choose(prompts(8, 256));
  EXPECT_EQ(choice.r1, 3);
  EXPECT_EQ(choice.order, PipelineOrder::fused);
  parts.fixed = {.r1 = 0, .r2 = 7, .order = PipelineOrder::aass};
  PipelineSolver parted(parts);
  EXPECT_EQ(parted.choose(prompts(8, 256)).r2, 7);
}

}  // namespace
}  // namespace moebius::policy
