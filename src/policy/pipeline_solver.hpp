// SPDX-License-Identifier: Apache-2.0
#pragma once
// The r1, r2 and order of a pipeline for a mini-batch of a rank: pipeline_search with the costs of plan_times. Pure. A running rank asks
// before each mini-batch; mini-batches of like tokens and lengths get the same answer from a cache, so that a job with mixed lengths
// changes its plan as it goes, without a pause.

#include <cstdint>
#include <map>
#include <optional>
#include <tuple>

#include "policy/pipeline_search.hpp"
#include "policy/plan_memory.hpp"
#include "policy/plan_times.hpp"

namespace moebius::policy {

/// What is fixed: 0 or nothing where the search may choose.
struct FixedPipeline {
  int r1 = 0, r2 = 0;
  std::optional<PipelineOrder> order;
  int min_r1 = 1;  ///< micro-batches must not be larger
};

/// The fewest micro-batches of `tokens` tokens whose rooms hold `room_tokens`: one exceeds its even share by less than a segment.
int least_r1(std::int64_t tokens, std::int64_t longest_segment, std::int64_t room_tokens);

/// `segments` segments of `segment_tokens` tokens of each attention rank of a split layout, through `num_layers` layers with experts.
/// `times` outlives it.
PipelineCosts pipeline_costs(const PlanTimes& times, const RoleCounts& counts, double segment_tokens, double expert_slowdown);
enum class PipelineKind : std::uint8_t { pingpong, findep };
PipelineChoice choose_pipeline(PipelineKind kind, const PipelineCosts& costs, int num_layers, int segments, double segment_tokens, const FixedPipeline& fixed);

class PipelineSolver {
 public:
  struct Parts {
    StageTimes times;
    Link link;
    PlanLimits limits;
    RoleCounts counts;
    FixedPipeline fixed;
    double expert_slowdown = 1;
  };
  explicit PipelineSolver(Parts parts) : parts_(std::move(parts)) {}

  /// Of one mini-batch of a rank. // work: of all its segments in a layer
  struct MiniBatch {
    AttentionWork work;
    int segments = 1;
    std::int64_t longest_segment = 1;
  };
  /// r1 is at least what its micro-batches need to fit, at most its segments.
  PipelineChoice choose(const MiniBatch& batch);
  [[nodiscard]] std::int64_t num_searches() const { return num_searches_; }
  /// How often each answer was given.
  using Answer = std::tuple<int, int, PipelineOrder>;  // r1, r2, order
  [[nodiscard]] const std::map<Answer, std::int64_t>& answers() const { return answers_; }

 private:
  [[nodiscard]] PipelineChoice search(const MiniBatch& batch, int min_r1) const;

  Parts parts_;
  using Bucket = std::tuple<int, int, int, int>;
  std::map<Bucket, PipelineChoice> found_;
  std::map<Answer, std::int64_t> answers_;
  std::int64_t num_searches_ = 0;
};

}  // namespace moebius::policy
