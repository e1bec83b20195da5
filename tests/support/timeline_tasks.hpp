// SPDX-License-Identifier: Apache-2.0
#pragma once
// The schedule of a pipeline that ran, from the timeline and the transfers that its ranks recorded (job key run.timeline): tasks as
// policy/pipeline_schedule.hpp has them, so that the same rules and the same recurrence apply to what was planned and what was done.

#include <optional>
#include <string>
#include <vector>

#include "base/job.hpp"
#include "io/results_reader.hpp"
#include "policy/pipeline_schedule.hpp"

namespace moebius {

struct RecordedSchedule {
  PipelineOrder order = PipelineOrder::asas;
  int r1 = 1, num_layers = 1;
  /// Layers are counted through the run: layer l of mini-batch m is m * (num_layers + 1) + l, num_layers is the LM head.
  /// A: outputs of the layer before, attention, router; with the LM head, and shared experts in the order `fused`.
  /// S: shared experts apart. X: an expert call, one task for each attention rank that it has rows of. D, C: a message each.
  std::vector<policy::ScheduledTask> tasks;
  /// Messages as they take up links, in slow motion: out of a rank as dispatch, into one as combine, source is the rank.
  std::vector<policy::ScheduledTask> on_links;
  /// (row, expert) pairs that went out and came back, which no rule for times would miss.
  std::vector<std::string> lost;
  double makespan_s = 0;
};

/// Throws std::runtime_error where there is no complete recording of a pipeline on one node.
RecordedSchedule recorded_schedule(const io::ResultsReader& results, PipelineOrder order, int r1, int num_layers);

}  // namespace moebius
