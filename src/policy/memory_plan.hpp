// SPDX-License-Identifier: Apache-2.0
#pragma once
// Does a job fit into the memory of its nodes? Counted before anything large is read or allocated, so that a job
// that cannot run says what needs how much, instead of dying half an hour later. Pure; who counts the needs and
// reads the limits is `ranks`.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/ids.hpp"

namespace moebius::policy {

struct MemoryNeed {
  std::string kind;         ///< "KV cache"
  std::int64_t bytes = 0;
  std::string remedy;       ///< what makes it smaller, as part of a sentence; empty: nothing
};

struct RankMemory {
  RankId rank;
  int node_idx = 0;
  std::vector<MemoryNeed> own;
  std::vector<MemoryNeed> shared;  ///< exists once on the node, whichever and however many of its ranks list it
};

struct NodeMemory {
  std::int64_t available_bytes = 0;
  std::string limit;  ///< where the number comes from
};

struct NodePlan {
  int num_ranks = 0;
  std::int64_t needed_bytes = 0;
  NodeMemory memory;
  std::vector<MemoryNeed> needs;  ///< summed over ranks by kind, largest first, ties by name
  [[nodiscard]] bool fits() const { return needed_bytes <= memory.available_bytes; }
};

/// One plan for each node. Node indices of ranks are those of `nodes`.
std::vector<NodePlan> plan_memory(std::span<const RankMemory> ranks, std::span<const NodeMemory> nodes);

/// The message for the node that lacks most; nothing where all fit.
std::optional<std::string> refusal(std::span<const NodePlan> plans);

/// A table for people.
std::string describe(std::span<const NodePlan> plans);

}  // namespace moebius::policy
