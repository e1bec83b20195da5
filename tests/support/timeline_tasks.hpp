// SPDX-License-Identifier: Apache-2.0
#pragma once
// The schedule of a pipeline that ran, from the timeline and the transfers that its ranks recorded (job key run.timeline): tasks as
// policy/pipeline_schedule.hpp has them, so that the same rules and the same recurrence apply to what was planned and what was done.

#include <map>
#include <optional>
#include <string>
#include <utility>
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
  /// Where the solver chose for each mini-batch, as found in the recording: of (attention rank, mini-batch), its order, and how many
  /// numbers of micro-batches it took, which is r1, or less for the last one.
  std::map<std::pair<int, int>, PipelineOrder> orders;
  std::map<std::pair<int, int>, int> sizes;
};

/// r1 0: found in the recording, mini-batch by mini-batch, and so is the order then: of A and S of the first layer that has two of each, for
/// all others to keep. A mini-batch begins where a rank goes back to the first layer. Throws std::runtime_error where there is no complete recording of a pipeline on one node.
RecordedSchedule recorded_schedule(const io::ResultsReader& results, PipelineOrder order, int r1, int num_layers);

}  // namespace moebius
