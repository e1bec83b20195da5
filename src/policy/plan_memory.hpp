// SPDX-License-Identifier: Apache-2.0
#pragma once
// Bytes that a rank of each role takes, by kind, for any number of ranks: what a plan tries many layouts with. Pure; who counts
// the pieces from config and limits is `ranks`.

#include <functional>
#include <string>
#include <vector>

#include "policy/memory_plan.hpp"

namespace moebius::policy {

/// Ranks of a layout by role; both all ranks where they are colocated.
struct RoleCounts {
  int attention = 1, experts = 1;
  enum class Form : std::uint8_t { split, colocated, replicated } form = Form::colocated;
  [[nodiscard]] int ranks() const { return form == Form::split ? attention + experts : attention; }
};

struct PlanMemory {
  std::vector<MemoryNeed> of_any, of_attention, of_experts;  ///< whatever the number of ranks
  std::int64_t expert_bytes = 0;         ///< weights of one expert of one layer
  int moe_layers = 1, num_experts = 1;
  std::int64_t queue_bytes_of_source = 0;  ///< of an expert rank, for each attention rank whose rows it stores
  std::function<std::int64_t(int sources)> ring_bytes;  ///< of one ring into a rank with so many sources
  std::int64_t rank_limit_bytes = 0;     ///< memory of each rank; 0: ranks share a node
  std::int64_t node_limit_bytes = 0;     ///< memory of all ranks together
  std::string limit;                     ///< where the number comes from
  std::string shared_kind;               ///< a kind that ranks of a node hold once; empty: none
};

/// Of a rank with attention, and of one with experts; the same where each rank has both. Largest number of experts.
struct RoleNeeds {
  std::vector<MemoryNeed> attention, experts;
};
RoleNeeds needs_of(const PlanMemory& memory, const RoleCounts& counts);

std::int64_t sum_of(const std::vector<MemoryNeed>& needs);
/// Of the rank that needs most.
std::int64_t rank_bytes(const PlanMemory& memory, const RoleCounts& counts);
/// Of all ranks together, on one node.
std::int64_t node_bytes(const PlanMemory& memory, const RoleCounts& counts);
bool fits(const PlanMemory& memory, const RoleCounts& counts);

}  // namespace moebius::policy
