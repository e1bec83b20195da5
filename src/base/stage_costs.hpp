// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the stages of a layer cost on a machine, as `moebius profile` measured and fitted it: seconds = alpha + beta x each term
// (policy/cost_model.hpp). Plain numbers, so that a job can carry them.

#include <array>

namespace moebius {

struct StageCosts {
  /// Of a micro-batch in one layer, with router and combine: 1, rows, (query, key) pairs, positions of keys and values read.
  std::array<double, 4> attention{};
  /// 1 and rows: of one expert call; of shared experts, a dense layer and the LM head, each 0 where the model has none.
  std::array<double, 2> expert{}, shared{}, dense{}, head{};
  /// 1 and bytes: of a message between ranks of a node; between nodes (0: there was one node).
  std::array<double, 2> link_in_node{}, link_between_nodes{};
  [[nodiscard]] bool known() const { return attention[1] > 0 || attention[0] > 0; }
  bool operator==(const StageCosts&) const = default;
};

}  // namespace moebius
