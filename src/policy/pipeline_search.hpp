// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which r1, r2 and order make a pipeline fastest (FinDEP, arXiv 2512.21487; ALGORITHMS section 5): pure, and exact where the
// times of tasks are affine in what they work on (alpha + beta x, both >= 0).

#include <cstdint>
#include <functional>
#include <optional>

#include "policy/pipeline_schedule.hpp"

namespace moebius::policy {

/// Seconds of a task in one layer that works on so many samples of a rank: attention and shared experts on those of a
/// micro-batch, the others on those of a part (which need not be whole). They never fall when samples grow.
struct PipelineCosts {
  using Cost = std::function<double(double samples)>;
  Cost attention, shared, dispatch, expert, combine;
};

struct PipelineSearch {
  int num_layers = 1;
  int max_samples = 1;    ///< M: of a rank at once, by memory or by budget
  int fixed_samples = 0;  ///< B: all samples of a rank, in micro-batches that divide them; 0: as many as pay
  int even_samples = 0;   ///< all samples of a rank, cut evenly into any number of micro-batches from min_r1 on; 0: whole samples in each
  int min_r1 = 1;
  int rows_per_sample = 1;  ///< a part holds at least a row
  int max_r1 = 0, max_r2 = 0;  ///< 0: no limit
  int min_r2 = 1;
  std::optional<PipelineOrder> order;  ///< nothing: the better of asas and aass
};

struct PipelineChoice {
  int samples = 0;       ///< m_a, of a micro-batch; rounded up where micro-batches are not whole samples
  int r1 = 1, r2 = 1;
  PipelineOrder order = PipelineOrder::asas;
  double makespan_s = 0;
  double samples_per_s = 0;           ///< r1 * samples / makespan_s
  std::int64_t num_evaluations = 0;   ///< schedules that were computed
  std::int64_t num_recurrences = 0;   ///< those of them that have no closed form
};

/// The best samples_per_s; ties to ASAS, then the larger micro-batch, then the smaller r2. For each r1 only the largest
/// micro-batch is looked at: with affine times a larger one never has less throughput. r2 grows from 1 for as long as the busiest
/// group alone would allow something better: parts cost alpha each, so that bound never falls; AASS stops where many in a
/// row have shortened nothing.
PipelineChoice search_pipeline(const PipelineSearch& search, const PipelineCosts& costs);
/// The same with r2 = 1 and the shared experts fused into attention.
PipelineChoice search_pingpong(const PipelineSearch& search, const PipelineCosts& costs);

}  // namespace moebius::policy
