// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the micro-queues of a rank stand in the scheduler's order of stages (policy/scheduler.hpp):
// a rank of one role has one stage a layer, a colocated rank alternates attention and experts.

#include <cstdint>
#include <vector>

#include "base/ids.hpp"
#include "base/roles.hpp"

namespace moebius::ranks {

class StageMap {
 public:
  explicit StageMap(Roles roles) : roles_(roles) {}

  /// Stage of attention layer l; l = num_layers is the final norm and LM head.
  [[nodiscard]] int attention_stage(int layer) const { return roles_ == Roles::both ? 2 * layer : layer; }
  [[nodiscard]] int expert_stage(int layer) const { return roles_ == Roles::both ? 2 * layer + 1 : layer; }
  [[nodiscard]] bool is_expert_stage(int stage) const {
    return roles_ == Roles::expert || (roles_ == Roles::both && stage % 2 == 1);
  }
  [[nodiscard]] int layer_of(int stage) const { return roles_ == Roles::both ? stage / 2 : stage; }

  /// Queues per stage, given how many experts of each layer the rank hosts.
  [[nodiscard]] std::vector<int> queues_per_stage(const std::vector<int>& hosted_per_layer) const {
    std::vector<int> queues;
    for (const int hosted : hosted_per_layer) {
      if (has_attention(roles_)) queues.push_back(1);
      if (has_experts(roles_)) queues.push_back(hosted);
    }
    if (has_attention(roles_)) queues.push_back(1);
    return queues;
  }

 private:
  Roles roles_;
};

}  // namespace moebius::ranks
