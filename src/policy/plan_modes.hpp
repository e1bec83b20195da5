// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a job would take in each way to run it, before anything is loaded; and which way to take (ALGORITHMS section 5). Pure: from
// sizes, rates and lengths to seconds, by plan_work, plan_times and pipeline_search.
//
//   replicate        attention and experts of each rank, one after the other
//   lockstep         all ranks wait for the slowest in each layer; nothing overlaps; colocated, or where a job asks for it split
//   async            colocated or split: the busiest resource alone, without which no schedule can do; a bound, not a prediction
//   ping-pong, FinDEP  whole schedules, with the r1, r2 and order that the search finds best
// Experts are chosen evenly and at random, or as unevenly as PlanLimits says; embedding, sampling and the host's own work take no time.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "policy/pipeline_search.hpp"
#include "policy/plan_memory.hpp"
#include "policy/plan_times.hpp"

namespace moebius::policy {

enum class PlanMode : std::uint8_t { replicate, lockstep, async_colocated, async_split, pingpong, findep };
const char* to_string(PlanMode mode);
/// Its time is a bound, not a prediction.
constexpr bool is_bound(PlanMode mode) { return mode == PlanMode::async_colocated || mode == PlanMode::async_split; }
constexpr bool is_split(PlanMode mode) { return mode >= PlanMode::async_split; }
constexpr bool is_pipeline(PlanMode mode) { return mode >= PlanMode::pingpong; }

struct PlanQuestion {
  StageTimes times;
  Link link;
  int num_ranks = 1;
  std::vector<WorkPhase> phases;
  PlanLimits limits;
  PlanMemory memory;
  double expert_slowdown = 1;          ///< of the slowest expert rank
  // What is fixed: 0 or nothing where the plan may choose.
  int attention_ranks = 0;             ///< of split ways
  int r1 = 0, r2 = 0;
  std::optional<PipelineOrder> order;
};

/// One phase of the job in one mode.
struct PlannedPhase {
  WorkBatch batch;
  double batch_s = 0;       ///< of a mini-batch through the whole model
  PipelineChoice pipeline;  ///< of the pipelines
};

struct PlannedMode {
  PlanMode mode = PlanMode::replicate;
  RoleCounts counts;
  std::int64_t rank_bytes = 0;      ///< of the rank that needs most
  bool fits = true;
  double link_bytes_per_token = 0;  ///< on links, through all layers, both ways
  double layer_s = 0;               ///< of a mini-batch, in the mean over layers and mini-batches
  double tokens_per_s = 0, job_s = 0;
  std::string busiest;              ///< what its time is mostly made of
  std::vector<PlannedPhase> phases;
  /// Of the phase that takes longest.
  [[nodiscard]] const PlannedPhase& main_phase() const;
};

/// One way with one number of attention ranks (ignored where colocated; 0 for lock-step that is colocated).
PlannedMode plan_mode(const PlanQuestion& question, PlanMode mode, int attention_ranks);
/// Every way, in the order of PlanMode, split ones with their best number of attention ranks, of those that fit if any does; split ones only
/// from two ranks on.
std::vector<PlannedMode> plan_modes(const PlanQuestion& question);
/// The fastest prediction that fits; nothing where none fits. Bounds are no predictions.
std::optional<PlannedMode> best_mode(const std::vector<PlannedMode>& modes);

}  // namespace moebius::policy
