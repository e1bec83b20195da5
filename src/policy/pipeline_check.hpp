// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether times of tasks obey the rules of a pipeline (policy/pipeline_schedule.hpp): for schedules that were planned, and
// for those that ranks recorded. Kinds of tasks that were not recorded are not missed; what is there has to fit together.

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "policy/pipeline_schedule.hpp"

namespace moebius::policy {

struct ScheduleRules {
  double tolerance_s = 0;              ///< of clocks, for each comparison
  std::optional<PipelineOrder> order;  ///< that attention has to keep; none: any
  bool links_hold_one = true;          ///< false: several transfers may be on their way at a time, as through shared memory
  /// In place of `order`: that of a layer of a source, where not all mini-batches have the same.
  std::function<PipelineOrder(int source, int layer)> order_of = {};
};

/// What is broken, one sentence each, by begin of the task; empty: nothing. Rules:
///  - no task ends before it begins, and no resource (attention of a source, link out of it, link back to it, experts of a
///    peer) runs two tasks at a time; tasks of one peer for several sources that have the same times are one;
///  - S and D begin after A, X after D, C after X, each of the same source, layer, micro-batch, and part and peer where they have one,
///    C after X of the same call;
///  - A of a layer begins after S and all C of the layer before it, of the same source and micro-batch;
///  - attention keeps the order: micro-batches ascending, and S behind its A (asas; fused has none) or behind all A of the layer (aass).
std::vector<std::string> check_schedule(std::span<const ScheduledTask> tasks, const ScheduleRules& rules);

}  // namespace moebius::policy
