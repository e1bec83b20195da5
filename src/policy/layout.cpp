// SPDX-License-Identifier: Apache-2.0
#include "policy/layout.hpp"

#include <string>

#include "base/check.hpp"
#include "base/failure.hpp"

namespace moebius::policy {
namespace {

std::vector<RankId> range(int begin, int end) {
  std::vector<RankId> ranks;
  for (int rank = begin; rank < end; ++rank) ranks.emplace_back(rank);
  return ranks;
}

[[noreturn]] void refuse(int attention_ranks, int expert_ranks, const std::string& why, const std::string& what_to_do) {
  throw Failure{ExitCode::bad_usage, "layout.attention_ranks = " + std::to_string(attention_ranks) +
                                         " and layout.expert_ranks = " + std::to_string(expert_ranks) +
                                         " cannot be used (" + why + ") " + what_to_do};
}

std::string started_with(int num_ranks) {
  return "the job was started with " + std::to_string(num_ranks) + (num_ranks == 1 ? " rank" : " ranks");
}

/// Counts for roles that all ranks share are either open or the number of ranks.
RankLayout colocated(int num_ranks, LayoutMode mode, int attention_ranks, int expert_ranks) {
  const auto fits = [&](int count) { return count == 0 || count == num_ranks; };
  if (!fits(attention_ranks) || !fits(expert_ranks)) {
    refuse(attention_ranks, expert_ranks,
           started_with(num_ranks) + (num_ranks == 1 ? ", which holds both roles" : " that all hold both roles: layout.mode is not split"),
           "leave both out or start the job with another number of ranks");
  }
  return {range(0, num_ranks), range(0, num_ranks), mode == LayoutMode::replicate};
}

}  // namespace

std::string RankLayout::describe() const {
  const std::string counts = std::to_string(attention_ranks.size()) + " attention, " + std::to_string(expert_ranks.size()) + " expert ranks";
  return (replicated ? "replicate: " : colocated() ? "colocated: " : "split: ") + counts;
}

RankLayout exchange_group(const RankLayout& layout, RankId rank) {
  if (!layout.replicated) return layout;
  return {.attention_ranks = {rank}, .expert_ranks = {rank}, .replicated = true};
}

RankLayout decide_layout(int num_ranks, LayoutMode mode, int attention_ranks, int expert_ranks) {
  MOEBIUS_EXPECT(num_ranks >= 1);
  if (attention_ranks < 0 || expert_ranks < 0) {
    refuse(attention_ranks, expert_ranks, "a number of ranks is never negative", "give 0 to leave a count open");
  }
  const bool split = mode == LayoutMode::split || mode == LayoutMode::automatic;
  if (num_ranks == 1 || !split) return colocated(num_ranks, mode, attention_ranks, expert_ranks);

  int num_attention = attention_ranks;
  if (num_attention == 0) num_attention = expert_ranks == 0 ? (num_ranks + 1) / 2 : num_ranks - expert_ranks;
  const int num_experts = expert_ranks == 0 ? num_ranks - num_attention : expert_ranks;
  if (num_attention < 1 || num_experts < 1) {
    refuse(attention_ranks, expert_ranks, started_with(num_ranks) + " and each role needs at least one of its own",
           "lower the count, start more ranks, or set layout.mode = \"colocated\"");
  }
  // Compared this way round because the sum of two counts from a job file may overflow.
  if (num_attention != num_ranks - num_experts) {
    refuse(attention_ranks, expert_ranks, started_with(num_ranks) + " and the two counts must add up to that",
           "correct one of them or leave it out");
  }
  return {range(0, num_attention), range(num_attention, num_ranks), false};
}

}  // namespace moebius::policy
