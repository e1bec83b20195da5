// SPDX-License-Identifier: Apache-2.0
#pragma once
// Planners that look at a routing trace step by step: `trace_lpt`, and `gem`, GEM-style, reconstructed: after
// arXiv 2605.19945, whose full text was not available. A step is as long as its slowest rank, so experts that are
// busy together belong on different ranks, and slow ranks get less.
//   SCORE(M) = sum over steps s of max over ranks r of lat_r( sum of N[s][e] over the experts e of r )
// Pure and deterministic; ties to the fastest rank, then to the lowest.

#include <cstdint>
#include <span>
#include <vector>

#include "policy/placement.hpp"
#include "policy/placement_planners.hpp"
#include "policy/speed_curve.hpp"

namespace moebius::policy {

/// Rows of each expert of a layer at each step.
struct LayerTrace {
  int num_steps = 0, num_experts = 0;
  std::vector<std::int64_t> rows;  // [num_steps, num_experts]
  [[nodiscard]] std::int64_t at(int step, int expert) const {
    return rows[static_cast<std::size_t>(step) * static_cast<std::size_t>(num_experts) + static_cast<std::size_t>(expert)];
  }
  /// Over all steps. // [num_experts]
  [[nodiscard]] std::vector<std::int64_t> totals() const;
  /// Steps [begin, end), cut to those there are.
  [[nodiscard]] LayerTrace steps(int begin, int end) const;
};

/// SCORE. Rows of an expert are shared evenly by its replicas. `curves` has one for each rank of the map.
double predicted_seconds(const LayerMap& map, const LayerTrace& trace, std::span<const SpeedCurve> curves);
/// Largest total load of a rank over the mean.
double max_over_mean(const LayerMap& map, const LayerTrace& trace);
/// Rows a second of each rank where all have the mean load of a step.
std::vector<double> speeds(const LayerTrace& trace, std::span<const SpeedCurve> curves);

/// Heaviest replica first, each to the rank with room that makes SCORE of the partial map least.
LayerMap score_greedy_map(std::span<const Replica> replicas, const LayerTrace& trace, std::span<const SpeedCurve> curves);
/// The same as if all ranks were alike: what the trace is worth without the speeds.
LayerMap trace_lpt_map(std::span<const Replica> replicas, const LayerTrace& trace, std::span<const SpeedCurve> curves);
/// Best-improvement swaps of two replicas on different ranks until none lowers SCORE.
LayerMap improved_by_swaps(LayerMap map, const LayerTrace& trace, std::span<const SpeedCurve> curves);
/// GEM-style, reconstructed: the best of score_greedy and speed_lpt with swaps, linear, and EPLB.
LayerMap gem_map(std::span<const Replica> replicas, const LayerTrace& trace, std::span<const SpeedCurve> curves);

}  // namespace moebius::policy
