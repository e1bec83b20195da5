// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which rank of a job has which expert: from a placement file, or planned from the trace and the speeds that the job
// names. Files are read by rank 0 of a job alone, which plans and tells the others.

#include <memory>
#include <string>
#include <vector>

#include "base/job.hpp"
#include "base/model_config.hpp"
#include "io/results_master.hpp"
#include "policy/layout.hpp"
#include "policy/plan_placement.hpp"

namespace moebius::ranks {

/// 0 for a dense layer.
std::vector<int> experts_per_layer(const ModelConfig& config);

/// Speed of each expert rank as planners see it: of the profile, or in proportion to rows, slowed as the job emulates.
std::vector<policy::SpeedCurve> speed_curves(const Job& job, int num_expert_ranks);

/// What a planner needs of a job, and the layers of the trace of a finished run (first `num_steps` of them).
policy::PlacementTask placement_task(const Job& job, const ModelConfig& config, int num_expert_ranks);
policy::LayerTrace layer_trace(const io::RoutingTrace& trace, int layer);
/// The trace in the results `directory`; Failure(bad_usage) where it has none or is of another model.
io::RoutingTrace read_trace(const std::string& directory, const ModelConfig& config);

/// The maps of all layers, by file or planner. Throws Failure(bad_usage).
std::vector<policy::LayerMap> plan_experts(const Job& job, const ModelConfig& config, const policy::RankLayout& layout);
std::unique_ptr<policy::TablePlacement> place_experts(const Job& job, const ModelConfig& config, const policy::RankLayout& layout);

std::vector<std::byte> to_bytes(const std::vector<policy::LayerMap>& maps);
std::vector<policy::LayerMap> maps_from_bytes(std::span<const std::byte> bytes);

/// The planner with its source, as outputs name it.
std::string full_name(PlannerKind planner);
/// "planner gem (GEM-style, reconstructed), 16 steps of results/trace", for the results.
std::string describe_placement(const Job& job);
/// "none given", or the skew that make-model gave the router.
std::string describe_router(const ModelConfig& config);
/// "none", or the factor of each expert rank.
std::string describe_slowdown(const Job& job, int num_expert_ranks);
/// "off", or the method with all that decides.
std::string describe_capacity(const Job& job);
double slowdown_of(const Job& job, int expert_rank_idx);

}  // namespace moebius::ranks
