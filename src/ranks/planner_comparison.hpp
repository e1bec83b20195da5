// SPDX-License-Identifier: Apache-2.0
#pragma once
// All planners side by side on a recorded trace, for `moebius place`: each plans from the first steps of the trace and
// is judged on these and on the steps that it has not seen.

#include <string>
#include <vector>

#include "base/job.hpp"
#include "base/model_config.hpp"
#include "io/results_master.hpp"
#include "policy/plan_placement.hpp"

namespace moebius::ranks {

struct PlannerResult {
  PlannerKind planner = PlannerKind::linear;
  std::string refusal;                        ///< why it cannot plan this job; empty: it did
  std::vector<policy::LayerMap> maps;         ///< [layers]
  double seen_s = 0, unseen_s = 0;            ///< predicted time of the expert stages, over all layers and steps
  double seen_imbalance = 1, unseen_imbalance = 1;  ///< largest load of a rank over the mean, mean over the layers
  double plan_s = 0;                          ///< what planning took
};

struct PlannerComparison {
  int seen_steps = 0, unseen_steps = 0;
  bool rows_are_time = false;  ///< without a profile a second is a row
  std::vector<PlannerResult> planners;
};

PlannerComparison compare_planners(const Job& job, const ModelConfig& config, const io::RoutingTrace& trace, int num_expert_ranks);
/// A table for people.
std::string describe(const PlannerComparison& comparison);

}  // namespace moebius::ranks
