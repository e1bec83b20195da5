// SPDX-License-Identifier: Apache-2.0
#include "policy/plan_placement.hpp"

#include "base/check.hpp"
#include "base/failure.hpp"

namespace moebius::policy {
namespace {

/// Enough rows that a curve is read where it is no longer flat.
constexpr std::int64_t rows_of_equal_loads = 64;

LayerMap plan_eplb_strict(const PlacementTask& task, std::span<const std::int64_t> load, const EplbShape& shape) {
  const bool groups_divide = task.num_groups % task.num_nodes == 0;
  if (shape.num_physical % shape.num_ranks != 0 || (groups_divide && shape.num_ranks % shape.num_nodes != 0) ||
      (groups_divide && shape.num_physical % shape.num_nodes != 0)) {
    throw Failure{ExitCode::bad_usage,
                  "placement.planner is eplb_strict (" + std::to_string(shape.num_physical) + " physical experts do not divide among " +
                      std::to_string(shape.num_ranks) + " expert ranks on " + std::to_string(shape.num_nodes) +
                      " nodes) use eplb, or another replicas.ratio or number of ranks"};
  }
  return eplb_strict_map(load, shape);
}

}  // namespace

bool needs_trace(PlannerKind planner) {
  return planner == PlannerKind::eplb || planner == PlannerKind::eplb_strict || planner == PlannerKind::trace_lpt || planner == PlannerKind::gem;
}

LayerMap plan_layer(PlannerKind planner, const PlacementTask& task, const LayerTrace& trace) {
  MOEBIUS_EXPECT(trace.num_steps == 0 || trace.num_experts == task.num_experts);
  if (trace.num_steps == 0) {
    const LayerTrace equal{1, task.num_experts, std::vector<std::int64_t>(static_cast<std::size_t>(task.num_experts), rows_of_equal_loads)};
    return plan_layer(planner, task, equal);
  }
  const int num_ranks = static_cast<int>(task.curves.size());
  const std::vector<std::int64_t> load = trace.totals();
  const EplbShape shape{num_physical(task.num_experts, task.ratio, num_ranks), task.num_groups, task.num_nodes, num_ranks};
  const std::vector<Replica> replicas = replicas_of(load, replica_counts(load, shape.num_physical, num_ranks));
  switch (planner) {
    case PlannerKind::linear: return linear_map(replicas, num_ranks);
    case PlannerKind::round_robin: return round_robin_map(replicas, num_ranks);
    case PlannerKind::eplb: return eplb_map(load, shape);
    case PlannerKind::eplb_strict: return plan_eplb_strict(task, load, shape);
    case PlannerKind::speed_lpt: return speed_lpt_map(replicas, speeds(trace, task.curves));
    case PlannerKind::trace_lpt: return trace_lpt_map(replicas, trace, task.curves);
    case PlannerKind::gem: return gem_map(replicas, trace, task.curves);
  }
  MOEBIUS_EXPECT(!"a planner of unknown kind");
  return {};
}

}  // namespace moebius::policy
