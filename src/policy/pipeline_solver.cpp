// SPDX-License-Identifier: Apache-2.0
#include "policy/pipeline_solver.hpp"

#include <algorithm>
#include <cmath>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

int octave(double value, double steps) { return static_cast<int>(std::lround(steps * std::log2(std::max(value, 1.0)))); }

}  // namespace

int least_r1(std::int64_t tokens, std::int64_t longest_segment, std::int64_t room_tokens) {
  if (tokens <= room_tokens) return 1;
  const std::int64_t share = std::max<std::int64_t>(1, room_tokens - longest_segment + 1);
  return static_cast<int>((tokens + share - 1) / share);
}

PipelineCosts pipeline_costs(const PlanTimes& times, const RoleCounts& counts, double segment_tokens, double expert_slowdown) {
  const PlanTimes* plan = &times;
  const double tokens = segment_tokens;
  return {.attention = [=](double n) { return plan->attention_of_one_s(n * tokens); },
          .shared = [=](double n) { return plan->shared_of_one_s(n * tokens); },
          .dispatch = [=](double n) { return plan->dispatch_s(n * tokens, counts.attention, counts.experts, 1); },
          .expert = [=](double n) {
            return expert_slowdown * plan->experts_s(n * tokens * counts.attention, counts.experts, PlanTimes::Overheads::each_call, PlanTimes::WhichRank::slowest_of_pipeline);
          },
          .combine = [=](double n) { return plan->outputs_s(n * tokens, counts.attention, counts.experts, 1); }};
}

PipelineChoice choose_pipeline(PipelineKind kind, const PipelineCosts& costs, int num_layers, int segments, double segment_tokens, const FixedPipeline& fixed) {
  const PipelineSearch search{.num_layers = num_layers,
                              .max_samples = segments,
                              .even_samples = segments,
                              .min_r1 = std::max({1, fixed.r1, fixed.min_r1}),
                              .rows_per_sample = std::max(1, static_cast<int>(segment_tokens)),
                              .max_r1 = fixed.r1 > 0 ? std::max(fixed.r1, fixed.min_r1) : 0,
                              .max_r2 = fixed.r2,
                              .min_r2 = std::max(1, fixed.r2),
                              .order = fixed.order};
  return kind == PipelineKind::pingpong ? search_pingpong(search, costs) : search_pipeline(search, costs);
}

PipelineChoice PipelineSolver::choose(const MiniBatch& batch) {
  MOEBIUS_EXPECT(batch.work.rows > 0 && batch.segments > 0);
  const auto room = static_cast<std::int64_t>(std::min(parts_.limits.pipeline_tokens, 1e15));
  const int min_r1 = least_r1(batch.work.rows, batch.longest_segment, room);
  const auto rows = static_cast<double>(batch.work.rows);
  const Bucket bucket{octave(rows, 2), octave(rows / batch.segments, 1), octave(static_cast<double>(batch.work.kv_positions) / rows, 1),
                      octave(static_cast<double>(batch.work.score_pairs) / rows, 1)};
  auto found = found_.find(bucket);
  if (found == found_.end()) {
    ++num_searches_;
    found = found_.emplace(bucket, search(batch, min_r1)).first;
  }
  PipelineChoice choice = found->second;
  choice.r1 = std::clamp(choice.r1, std::min(min_r1, batch.segments), batch.segments);
  ++answers_[{choice.r1, choice.r2, choice.order}];
  return choice;
}

PipelineChoice PipelineSolver::search(const MiniBatch& batch, int min_r1) const {
  const auto rows = static_cast<double>(batch.work.rows);
  const WorkPhase phase{.sequences = static_cast<double>(batch.segments),
                        .tokens_per_sequence = rows / batch.segments,
                        .segment_tokens = rows / batch.segments,
                        .kv_per_token = static_cast<double>(batch.work.kv_positions) / rows,
                        .pairs_per_token = static_cast<double>(batch.work.score_pairs) / rows,
                        .most_batch_tokens = rows};
  const PlanTimes times(parts_.times, parts_.link, parts_.limits, phase);
  FixedPipeline fixed = parts_.fixed;
  fixed.min_r1 = min_r1;
  const auto layers = static_cast<int>(std::ranges::count(parts_.times.model().config.moe_layer, 1));
  return choose_pipeline(PipelineKind::findep, pipeline_costs(times, parts_.counts, phase.segment_tokens, parts_.expert_slowdown), std::max(1, layers), batch.segments,
                         phase.segment_tokens, fixed);
}

}  // namespace moebius::policy
