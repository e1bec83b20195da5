// SPDX-License-Identifier: Apache-2.0
#pragma once
// What each rank of a job will allocate, counted from config, layout and limits alone; and the check that refuses
// a job that does not fit, before any weight is read.

#include <functional>
#include <vector>

#include "base/job.hpp"
#include "base/model_config.hpp"
#include "comm/session.hpp"
#include "comm/window.hpp"
#include "policy/layout.hpp"
#include "policy/memory_plan.hpp"
#include "policy/placement.hpp"
#include "policy/plan_memory.hpp"

namespace moebius::ranks {

/// Needs of all ranks of the layout. `sharing`: whether ranks of a node share the attention weights.
std::vector<policy::RankMemory> memory_needs(const Job& job, const ModelConfig& config, const policy::RankLayout& layout,
                                             const policy::ExpertPlacement& placement, comm::FastPath sharing,
                                             const std::function<int(RankId)>& node_of);

/// The same piece by piece, for a plan that tries many layouts (equal to memory_needs with a linear placement, rows that travel where
/// `sharing` is off, and all ranks on one node).
policy::PlanMemory plan_memory_of(const Job& job, const ModelConfig& config, comm::FastPath sharing);

/// The plan of a job on this machine, without MPI. Reads config.json only.
std::vector<policy::NodePlan> plan_on_one_node(const Job& job, int num_ranks);

/// Collective. Rank 0 throws Failure{does_not_fit} where a node lacks memory: to be called in a step that ranks
/// agree on, with what gather_available_memory gave.
void check_memory(const std::vector<policy::RankMemory>& needs, const std::vector<policy::NodeMemory>& available);

/// Collective: on rank 0 the memory that each node has left; empty elsewhere. Emulated nodes divide their machine.
std::vector<policy::NodeMemory> gather_available_memory(comm::Session& session);

}  // namespace moebius::ranks
