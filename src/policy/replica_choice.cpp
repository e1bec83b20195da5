// SPDX-License-Identifier: Apache-2.0
#include "policy/replica_choice.hpp"

#include <algorithm>
#include <numeric>

#include "base/check.hpp"

namespace moebius::policy {

ReplicaChoice::ReplicaChoice(int num_ranks)
    : num_ranks_(num_ranks), counts_(static_cast<std::size_t>(num_ranks)), on_rank_(static_cast<std::size_t>(num_ranks)),
      visited_(static_cast<std::size_t>(num_ranks)) {
  MOEBIUS_EXPECT(num_ranks > 0);
}

void ReplicaChoice::start(std::span<const ActiveExpert> active, int first_rank) {
  first_rank_ = first_rank % num_ranks_;
  std::ranges::fill(counts_, 0);
  order_.resize(active.size());
  std::iota(order_.begin(), order_.end(), 0);
  chosen_.resize(active.size());
}

int ReplicaChoice::largest_count() const { return *std::ranges::max_element(counts_); }

void ReplicaChoice::choose_in_order(std::span<const ActiveExpert> active) {
  for (const std::size_t idx : order_) {
    const PhysicalExpert* best = nullptr;
    for (const PhysicalExpert& host : active[idx].replicas) {
      MOEBIUS_EXPECT(host.rank.value < num_ranks_);
      if (best == nullptr) {
        best = &host;
        continue;
      }
      const int here = counts_[host.rank.idx()], there = counts_[best->rank.idx()];
      if (here < there || (here == there && turn_of(host.rank) < turn_of(best->rank))) best = &host;
    }
    MOEBIUS_EXPECT(best != nullptr);
    chosen_[idx] = *best;
    ++counts_[best->rank.idx()];
  }
}

std::span<const PhysicalExpert> ReplicaChoice::metro(std::span<const ActiveExpert> active, int first_rank) {
  start(active, first_rank);
  choose_in_order(active);
  return chosen_;
}

std::span<const PhysicalExpert> ReplicaChoice::fewest_first(std::span<const ActiveExpert> active, int first_rank) {
  start(active, first_rank);
  std::ranges::stable_sort(order_, {}, [&](std::size_t idx) { return active[idx].replicas.size(); });
  choose_in_order(active);
  return chosen_;
}

std::span<const PhysicalExpert> ReplicaChoice::exact(std::span<const ActiveExpert> active, int first_rank) {
  fewest_first(active, first_rank);
  best_ = chosen_;
  // All experts on all ranks alike is the least that could be; what the greedy found is enough.
  int low = static_cast<int>((active.size() + static_cast<std::size_t>(num_ranks_) - 1) / static_cast<std::size_t>(num_ranks_)), high = largest_count();
  while (low < high) {
    const int most = (low + high) / 2;
    if (match(active, most)) {
      best_ = chosen_;
      high = most;
    } else {
      low = most + 1;
    }
  }
  return best_;
}

bool ReplicaChoice::match(std::span<const ActiveExpert> active, int most) {
  for (auto& experts : on_rank_) experts.clear();
  for (const std::size_t idx : order_) {
    std::ranges::fill(visited_, 0);
    if (!place(active, idx, most)) return false;
  }
  return true;
}

bool ReplicaChoice::place(std::span<const ActiveExpert> active, std::size_t expert_idx, int most) {
  for (const PhysicalExpert& host : active[expert_idx].replicas) {
    if (visited_[host.rank.idx()] != 0) continue;
    visited_[host.rank.idx()] = 1;
    auto& there = on_rank_[host.rank.idx()];
    if (static_cast<int>(there.size()) < most) {
      there.push_back(expert_idx);
      chosen_[expert_idx] = host;
      return true;
    }
    for (std::size_t i = 0; i < there.size(); ++i) {
      const std::size_t other = there[i];
      if (!place(active, other, most)) continue;
      on_rank_[host.rank.idx()][i] = expert_idx;
      chosen_[expert_idx] = host;
      return true;
    }
  }
  return false;
}

}  // namespace moebius::policy
