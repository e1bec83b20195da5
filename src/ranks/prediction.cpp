// SPDX-License-Identifier: Apache-2.0
#include "ranks/prediction.hpp"

#include <fmt/format.h>

#include "ranks/input_shapes.hpp"
#include "ranks/job_plan.hpp"

namespace moebius::ranks {
namespace {

policy::PlanMode mode_of(const Job& job, const policy::RankLayout& layout) {
  using enum policy::PlanMode;
  if (job.schedule.execution == Execution::lockstep) return lockstep;
  if (layout.replicated || (layout.colocated() && layout.expert_ranks.size() == 1)) return replicate;
  if (job.schedule.execution == Execution::pipeline) return job.pipeline.order == PipelineOrder::fused && job.pipeline.r2 == 1 ? pingpong : findep;
  return layout.colocated() ? async_colocated : async_split;
}

}  // namespace

std::optional<Prediction> predict_run(const Job& job, const policy::RankLayout& layout, const io::RequestFile& file, std::span<const io::RequestFile::Line> lines,
                                      const ModelConfig& config) {
  if (lines.empty()) return std::nullopt;
  const auto shapes = shapes_of(file, lines, config.max_position_embeddings);
  if (shapes.empty()) return std::nullopt;
  const int num_ranks = static_cast<int>(layout.attention_ranks.size() + (layout.colocated() ? 0 : layout.expert_ranks.size()));
  const PlanQuestionParts parts = question_of(job, config, num_ranks, shapes);
  Prediction prediction{.plan = policy::plan_mode(parts.question, mode_of(job, layout), static_cast<int>(layout.attention_ranks.size())),
                        .num_layers = config.num_layers, .devices = parts.devices};
  for (const policy::WorkPhase& phase : parts.question.phases) prediction.tokens += phase.tokens();
  return prediction;
}

io::PredictedTable predicted_table(const std::optional<Prediction>& prediction, double measured_s, double measured_tokens) {
  if (!prediction) return {};
  const policy::PlannedMode& plan = prediction->plan;
  return {.seconds = plan.job_s,
          .measured_seconds = measured_s,
          .tokens = prediction->tokens,
          .measured_tokens = measured_tokens,
          .layer_seconds = plan.layer_s,
          .measured_layer_seconds = measured_tokens > 0 ? plan.layer_s * (measured_s / measured_tokens) / (plan.job_s / prediction->tokens) : 0.0,
          .is_bound = policy::is_bound(plan.mode) ? 1.0 : 0.0};
}

std::string describe(const std::optional<Prediction>& prediction) {
  if (!prediction) return "none";
  const policy::PlannedMode& plan = prediction->plan;
  std::string pipeline;
  if (policy::is_pipeline(plan.mode)) {
    const policy::PipelineChoice& choice = plan.main_phase().pipeline;
    pipeline = fmt::format(" (r1 {}, r2 {}, {})", choice.r1, choice.r2, to_string(choice.order));
  }
  return fmt::format("{}{} on {}:{} ranks, {}", to_string(plan.mode), pipeline, plan.counts.attention, plan.counts.experts, prediction->devices);
}

}  // namespace moebius::ranks
