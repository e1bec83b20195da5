// SPDX-License-Identifier: Apache-2.0
#pragma once
// The planner that a job names, for one layer. What planners need beside the loads is in PlacementTask.

#include <vector>

#include "base/job.hpp"
#include "policy/gem.hpp"

namespace moebius::policy {

struct PlacementTask {
  int num_experts = 0;
  int num_groups = 1;   ///< expert groups of the router; eplb keeps them together where nodes divide them
  int num_nodes = 1;    ///< eplb: groups of ranks
  double ratio = 1.0;   ///< physical experts for each logical one
  std::vector<SpeedCurve> curves;  ///< [expert ranks]
};

/// Whether the planner cannot do without a trace.
bool needs_trace(PlannerKind planner);

/// Replicas go to the experts with the largest load in the trace, whatever the planner; a trace of no steps stands
/// for equal loads. Throws Failure(bad_usage) where eplb_strict cannot divide places, ranks or nodes.
LayerMap plan_layer(PlannerKind planner, const PlacementTask& task, const LayerTrace& trace);

}  // namespace moebius::policy
