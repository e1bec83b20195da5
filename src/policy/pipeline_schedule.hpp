// SPDX-License-Identifier: Apache-2.0
#pragma once
// The schedule of a fine-grained pipeline (FinDEP, arXiv 2512.21487; ALGORITHMS section 5) between a group of attention ranks
// and a group of expert ranks, as times of tasks. Pure. In each layer a mini-batch is r1 micro-batches, and the expert work of
// each is r2 token parts:
//   A(i) attention and router, S(i) shared experts       on the attention group
//   D(i,j) dispatch of a part, C(i,j) its outputs back   on the link out, on the link back
//   X(i,j) experts                                       on the expert group
// A(i) -> S(i); A(i) -> D -> X -> C of each part; A of the next layer needs S(i) and every C(i,j). S does not hold back D.
// Each resource runs one task at a time, in a fixed order: by layer, micro-batch, part; attention by layer and PipelineOrder.

#include <span>
#include <vector>

#include "base/job.hpp"

namespace moebius::policy {

enum class TaskKind : std::uint8_t { attention, shared, dispatch, expert, combine };
const char* to_string(TaskKind kind);

/// Seconds of the three tasks of a token part. A part without rows has no tasks: see PartTimes::empty.
struct PartTimes {
  double dispatch_s = 0, expert_s = 0, combine_s = 0;
  bool empty = false;
};

/// Seconds of one micro-batch in any layer. shared_s 0: no shared experts.
struct MicroBatchTimes {
  double attention_s = 0, shared_s = 0;
  std::vector<PartTimes> parts;
};

struct ScheduledTask {
  TaskKind kind = TaskKind::attention;
  int layer = 0, micro_batch = 0, part = 0;  ///< part 0 for attention and shared
  int source = 0, peer = 0;                  ///< attention rank, expert rank; 0 where groups count as one
  double begin_s = 0, end_s = 0;
  int call = 0;  ///< of experts and of what comes back, where the experts of a part are several tasks with outputs of their own
};

struct PipelineSchedule {
  double makespan_s = 0;
  std::vector<ScheduledTask> tasks;  ///< in the order in which they were placed; empty from pipeline_makespan
};

/// The event recurrence: each task begins as soon as its resource and all before it allow. Micro-batches and parts may differ.
PipelineSchedule schedule_pipeline(int num_layers, PipelineOrder order, std::span<const MicroBatchTimes> micro_batches);
/// Its makespan alone.
double pipeline_makespan(int num_layers, PipelineOrder order, std::span<const MicroBatchTimes> micro_batches);

/// r1 like micro-batches of r2 like parts.
struct EvenPipeline {
  int num_layers = 1, r1 = 1, r2 = 1;
  double attention_s = 0, shared_s = 0, dispatch_s = 0, expert_s = 0, combine_s = 0;
};
std::vector<MicroBatchTimes> micro_batches_of(const EvenPipeline& even);

/// Makespan of ASAS in closed form, equal to the recurrence; dispatch_s = combine_s is the case of the paper. The equation as
/// printed there adds (r2 - 1) * max(te, tc) once more, which is wrong wherever r2 > 1.
double asas_makespan(const EvenPipeline& even);
double asas_makespan_as_printed(const EvenPipeline& even);

/// Ping-pong (MegaScale-Infer, arXiv 2504.02263): r2 = 1, shared experts fused into attention. Exact from pingpong_knee on.
double pingpong_makespan(int num_layers, int num_micro_batches, double attention_s, double expert_s, double link_s);
/// Micro-batches from which on transfers and the other group's work are hidden: ceil(2 (1 + Tc / max(Ta, Te))).
int pingpong_knee(double attention_s, double expert_s, double link_s);

/// How many of `rows` part `part` of `num_parts` holds: even but for one row, the first ones hold more; 0 where there are more
/// parts than rows.
constexpr std::int64_t rows_of_part(std::int64_t rows, int num_parts, int part) {
  return rows / num_parts + (part < rows % num_parts ? 1 : 0);
}

}  // namespace moebius::policy
