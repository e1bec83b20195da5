// SPDX-License-Identifier: Apache-2.0
#include "policy/plan_memory.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

/// More than any machine has; sums of hostile sizes must not turn negative.
constexpr std::int64_t most = std::int64_t{1} << 62;
std::int64_t add(std::int64_t a, std::int64_t b) { return a > most - b ? most : a + b; }
std::int64_t times(std::int64_t count, std::int64_t bytes) {
  std::int64_t product = 0;
  return __builtin_mul_overflow(count, bytes, &product) ? most : product;
}

void append(std::vector<MemoryNeed>& needs, const std::vector<MemoryNeed>& more) {
  for (const MemoryNeed& need : more) {
    const auto found = std::ranges::find(needs, need.kind, &MemoryNeed::kind);
    if (found == needs.end()) needs.push_back(need);
    else found->bytes = add(found->bytes, need.bytes);
  }
}

}  // namespace

RoleNeeds needs_of(const PlanMemory& memory, const RoleCounts& counts) {
  using Form = RoleCounts::Form;
  MOEBIUS_EXPECT(counts.attention >= 1 && counts.experts >= 1 && (counts.form == Form::split || counts.attention == counts.experts));
  const int owners = counts.form == Form::replicated ? 1 : counts.experts;
  const std::int64_t hosted = times(memory.moe_layers, (memory.num_experts + owners - 1) / owners);
  const int sources = counts.form == Form::split ? counts.attention : counts.form == Form::colocated ? counts.attention - 1 : 0;
  const auto rings = [&](int writers, int most_sources) {
    return MemoryNeed{"rings", times(writers, memory.ring_bytes ? memory.ring_bytes(most_sources) : 0), "use fewer ranks"};
  };
  const int most_sources = std::max(counts.attention, counts.experts);
  RoleNeeds needs;
  append(needs.attention, memory.of_any);
  append(needs.attention, memory.of_attention);
  std::vector<MemoryNeed> experts{{"expert weights", times(hosted, memory.expert_bytes), "use more expert ranks"},
                                  {"expert queues", times(sources, memory.queue_bytes_of_source), "lower limits.max_tokens_in_flight"}};
  append(experts, memory.of_experts);
  if (counts.form == Form::split) {
    append(needs.experts, memory.of_any);
    append(needs.experts, experts);
    append(needs.attention, {rings(counts.experts, most_sources)});
    append(needs.experts, {rings(counts.attention, most_sources)});
    return needs;
  }
  append(needs.attention, experts);
  append(needs.attention, {rings(counts.form == Form::replicated ? 0 : 2 * (counts.attention - 1), most_sources)});
  needs.experts = needs.attention;
  return needs;
}

std::int64_t sum_of(const std::vector<MemoryNeed>& needs) {
  std::int64_t sum = 0;
  for (const MemoryNeed& need : needs) sum = add(sum, need.bytes);
  return sum;
}

std::int64_t rank_bytes(const PlanMemory& memory, const RoleCounts& counts) {
  const RoleNeeds needs = needs_of(memory, counts);
  return std::max(sum_of(needs.attention), sum_of(needs.experts));
}

std::int64_t node_bytes(const PlanMemory& memory, const RoleCounts& counts) {
  const RoleNeeds needs = needs_of(memory, counts);
  std::int64_t bytes = times(counts.attention, sum_of(needs.attention));
  if (counts.form == RoleCounts::Form::split) bytes = add(bytes, times(counts.experts, sum_of(needs.experts)));
  for (const MemoryNeed& need : needs.attention) {
    if (need.kind == memory.shared_kind && bytes < most) bytes -= times(counts.attention - 1, need.bytes);
  }
  return bytes;
}

bool fits(const PlanMemory& memory, const RoleCounts& counts) {
  if (memory.rank_limit_bytes > 0 && rank_bytes(memory, counts) > memory.rank_limit_bytes) return false;
  return memory.node_limit_bytes <= 0 || node_bytes(memory, counts) <= memory.node_limit_bytes;
}

}  // namespace moebius::policy
