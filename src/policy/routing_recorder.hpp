// SPDX-License-Identifier: Apache-2.0
#pragma once
// Records how the router of a running job loads the experts, for planners. A step is a number of tokens that passed a
// layer on an attention rank one after the other; in every layer the tokens of a step are about the same ones.
// Memory is bounded: when there are max_steps steps, neighbours are added together and a step is twice as long.

#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.hpp"

namespace moebius::policy {

/// Rows of each expert at each step of each layer.
struct RoutingTrace {
  std::int64_t step_tokens = 0;  ///< per attention rank; 0: nothing recorded
  int num_steps = 0, num_layers = 0, num_experts = 0;
  std::vector<std::int32_t> rows;  // [num_steps, num_layers, num_experts]
  bool operator==(const RoutingTrace&) const = default;
};

/// Steps of several ranks, added; those of shorter steps are joined first.
RoutingTrace add_traces(std::vector<RoutingTrace> traces);

class RoutingRecorder {
 public:
  static constexpr std::int64_t first_step_tokens = 64;
  static constexpr int max_steps = 512;

  RoutingRecorder(int num_layers, int num_experts);
  /// A token passes a layer and goes to these experts.
  void add(LayerId layer, std::span<const std::int32_t> experts);
  [[nodiscard]] const RoutingTrace& trace() const { return trace_; }

 private:
  RoutingTrace trace_;
  std::vector<std::int64_t> num_tokens_;  // [layers]
};

}  // namespace moebius::policy
