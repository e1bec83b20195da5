// SPDX-License-Identifier: Apache-2.0
#include "ranks/planner_comparison.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/clock.hpp"
#include "base/failure.hpp"
#include "ranks/expert_plan.hpp"

namespace moebius::ranks {
namespace {

constexpr PlannerKind all_planners[] = {PlannerKind::linear,    PlannerKind::round_robin, PlannerKind::eplb, PlannerKind::eplb_strict,
                                        PlannerKind::speed_lpt, PlannerKind::trace_lpt,   PlannerKind::gem};

PlannerResult judge(PlannerKind planner, const policy::PlacementTask& task, const ModelConfig& config, const io::RoutingTrace& trace, int seen_steps) {
  PlannerResult result{.planner = planner, .refusal = {}, .maps = {}};
  int num_layers = 0;
  double seen_imbalance = 0, unseen_imbalance = 0;
  const int num_ranks = static_cast<int>(task.curves.size());
  for (int layer = 0; layer < config.num_layers; ++layer) {
    if (!config.is_moe(LayerId(layer))) {
      result.maps.emplace_back(num_ranks, 0);
      continue;
    }
    const policy::LayerTrace all = layer_trace(trace, layer), seen = all.steps(0, seen_steps), unseen = all.steps(seen_steps, all.num_steps);
    const double start_s = now_s();
    const policy::LayerMap& map = result.maps.emplace_back(policy::plan_layer(planner, task, seen));
    result.plan_s += now_s() - start_s;
    result.seen_s += policy::predicted_seconds(map, seen, task.curves);
    result.unseen_s += policy::predicted_seconds(map, unseen, task.curves);
    seen_imbalance += policy::max_over_mean(map, seen);
    unseen_imbalance += policy::max_over_mean(map, unseen);
    ++num_layers;
  }
  result.seen_imbalance = seen_imbalance / std::max(num_layers, 1);
  result.unseen_imbalance = unseen_imbalance / std::max(num_layers, 1);
  return result;
}

}  // namespace

PlannerComparison compare_planners(const Job& job, const ModelConfig& config, const io::RoutingTrace& trace, int num_expert_ranks) {
  const policy::PlacementTask task = placement_task(job, config, num_expert_ranks);
  PlannerComparison comparison{.rows_are_time = job.placement.profile.empty(), .planners = {}};
  comparison.seen_steps = std::min(job.placement.trace_steps, trace.num_steps);
  comparison.unseen_steps = trace.num_steps - comparison.seen_steps;
  for (const PlannerKind planner : all_planners) {
    try {
      comparison.planners.push_back(judge(planner, task, config, trace, comparison.seen_steps));
    } catch (const Failure& failure) {
      comparison.planners.push_back({.planner = planner, .refusal = failure.what(), .maps = {}});
    }
  }
  return comparison;
}

std::string describe(const PlannerComparison& comparison) {
  const PlannerResult& linear = comparison.planners.front();
  std::string text = fmt::format("predicted time of the expert stages{}; planned from {} steps, judged on these and on {} others\n",
                                 comparison.rows_are_time ? " (no profile: in rows of the slowest rank)" : ", s", comparison.seen_steps, comparison.unseen_steps);
  text += fmt::format("{:<32} {:>12} {:>10} {:>9} {:>12} {:>10} {:>9} {:>9}\n", "planner", "seen", "to linear", "max/mean", "unseen", "to linear",
                      "max/mean", "plan, s");
  const auto over = [](double value, double base) { return base > 0 ? value / base : 1.0; };
  for (const PlannerResult& result : comparison.planners) {
    if (!result.refusal.empty()) {
      text += fmt::format("{:<32} {}\n", full_name(result.planner), result.refusal);
      continue;
    }
    text += fmt::format("{:<32} {:>12.6g} {:>10.3f} {:>9.3f} {:>12.6g} {:>10.3f} {:>9.3f} {:>9.3f}\n", full_name(result.planner), result.seen_s,
                        over(result.seen_s, linear.seen_s), result.seen_imbalance, result.unseen_s, over(result.unseen_s, linear.unseen_s),
                        result.unseen_imbalance, result.plan_s);
  }
  return text;
}

}  // namespace moebius::ranks
