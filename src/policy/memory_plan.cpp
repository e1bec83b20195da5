// SPDX-License-Identifier: Apache-2.0
#include "policy/memory_plan.hpp"

#include <algorithm>
#include <cstdio>
#include <map>

#include "base/check.hpp"

namespace moebius::policy {

namespace {

std::string in_mib(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f MiB", static_cast<double>(bytes) / (1024.0 * 1024.0));
  return text;
}

/// More than any machine has; sums of hostile sizes must not turn negative.
std::int64_t add_bytes(std::int64_t a, std::int64_t b) {
  constexpr std::int64_t most = std::int64_t{1} << 62;
  return a > most - b ? most : a + b;
}

}  // namespace

std::vector<NodePlan> plan_memory(std::span<const RankMemory> ranks, std::span<const NodeMemory> nodes) {
  std::vector<std::map<std::string, MemoryNeed>> own(nodes.size()), shared(nodes.size());  // by kind
  std::vector<NodePlan> plans(nodes.size());
  for (const RankMemory& rank : ranks) {
    MOEBIUS_EXPECT(rank.node_idx >= 0 && static_cast<std::size_t>(rank.node_idx) < nodes.size());
    const auto node = static_cast<std::size_t>(rank.node_idx);
    plans[node].num_ranks += 1;
    for (const MemoryNeed& need : rank.own) {
      MemoryNeed& sum = own[node].try_emplace(need.kind, MemoryNeed{need.kind, 0, need.remedy}).first->second;
      sum.bytes = add_bytes(sum.bytes, need.bytes);
    }
    for (const MemoryNeed& need : rank.shared) {
      MemoryNeed& once = shared[node].try_emplace(need.kind, need).first->second;
      once.bytes = std::max(once.bytes, need.bytes);
    }
  }
  for (std::size_t node = 0; node < nodes.size(); ++node) {
    plans[node].memory = nodes[node];
    for (const auto* kinds : {&own[node], &shared[node]}) {
      for (const auto& [kind, need] : *kinds) {
        plans[node].needs.push_back(need);
        plans[node].needed_bytes = add_bytes(plans[node].needed_bytes, need.bytes);
      }
    }
    std::ranges::stable_sort(plans[node].needs, [](const MemoryNeed& a, const MemoryNeed& b) {
      return a.bytes != b.bytes ? a.bytes > b.bytes : a.kind < b.kind;
    });
  }
  return plans;
}

std::optional<std::string> refusal(std::span<const NodePlan> plans) {
  std::size_t worst = plans.size();
  const auto lack = [&](std::size_t node) { return plans[node].needed_bytes - plans[node].memory.available_bytes; };
  for (std::size_t node = 0; node < plans.size(); ++node) {
    if (!plans[node].fits() && (worst == plans.size() || lack(node) > lack(worst))) worst = node;
  }
  if (worst == plans.size()) return std::nullopt;
  const NodePlan& plan = plans[worst];
  std::string text = "the job does not fit on node " + std::to_string(worst) + " (its " + std::to_string(plan.num_ranks) +
                     (plan.num_ranks == 1 ? " rank needs " : " ranks need ") + in_mib(plan.needed_bytes) + ":";
  for (const MemoryNeed& need : plan.needs) text += " " + need.kind + " " + in_mib(need.bytes) + ",";
  text.back() = ';';
  text += " there are " + in_mib(plan.memory.available_bytes) + ", " + plan.memory.limit + ") ";
  const auto helps = std::ranges::find_if(plan.needs, [](const MemoryNeed& need) { return !need.remedy.empty(); });
  return text + (helps == plan.needs.end() ? "use more nodes" : helps->remedy + ", or use more nodes");
}

std::string describe(std::span<const NodePlan> plans) {
  std::string text;
  for (std::size_t node = 0; node < plans.size(); ++node) {
    const NodePlan& plan = plans[node];
    text += "memory of node " + std::to_string(node) + " with " + std::to_string(plan.num_ranks) + " ranks: " +
            in_mib(plan.needed_bytes) + " needed, " + in_mib(plan.memory.available_bytes) + " available (" + plan.memory.limit +
            "): " + (plan.fits() ? "fits\n" : "does not fit\n");
    for (const MemoryNeed& need : plan.needs) {
      char line[96];
      std::snprintf(line, sizeof line, "  %-28s %16s\n", need.kind.c_str(), in_mib(need.bytes).c_str());
      text += line;
    }
  }
  return text;
}

}  // namespace moebius::policy
