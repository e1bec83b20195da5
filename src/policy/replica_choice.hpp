// SPDX-License-Identifier: Apache-2.0
#pragma once
// One host for each active expert, so that the largest number of activated experts on a rank is small: while the time
// of an expert is that of reading its weights, a step lasts as long as the rank that reads most (METRO, arXiv
// 2512.09277). Pure: whoever asks with the same arguments gets the same choice, so that a row is computed once.
// Ties go to the lowest rank, counted from `first_rank` on around the ring of ranks.

#include <cstdint>
#include <span>
#include <vector>

#include "policy/placement.hpp"

namespace moebius::policy {

/// An expert with rows in this step, and all who hold it, by rank.
struct ActiveExpert {
  std::int32_t expert = 0;
  std::span<const PhysicalExpert> replicas;
};

/// Chooses among the replicas of each active expert; scratch is reused from call to call.
class ReplicaChoice {
 public:
  /// Ranks of replicas are below `num_ranks`.
  explicit ReplicaChoice(int num_ranks);

  /// METRO's greedy: experts as listed (by id), each to the host with the fewest so far.
  std::span<const PhysicalExpert> metro(std::span<const ActiveExpert> active, int first_rank);
  /// The same, experts with the fewest hosts first: those with a choice come when it is known what is taken.
  std::span<const PhysicalExpert> fewest_first(std::span<const ActiveExpert> active, int first_rank);
  /// The least possible maximum: binary search on it, each step a bipartite matching by augmenting paths.
  std::span<const PhysicalExpert> exact(std::span<const ActiveExpert> active, int first_rank);

 private:
  void start(std::span<const ActiveExpert> active, int first_rank);
  void choose_in_order(std::span<const ActiveExpert> active);
  [[nodiscard]] int turn_of(RankId rank) const { return (rank.value - first_rank_ + num_ranks_) % num_ranks_; }
  [[nodiscard]] int largest_count() const;
  /// Whether all experts find a host with at most `most` on a rank; then chosen_ says which.
  bool match(std::span<const ActiveExpert> active, int most);
  bool place(std::span<const ActiveExpert> active, std::size_t expert_idx, int most);

  int num_ranks_, first_rank_ = 0;
  std::vector<int> counts_;                       // [num_ranks] experts chosen to be there
  std::vector<std::size_t> order_;                // [active]
  std::vector<PhysicalExpert> chosen_, best_;     // [active]
  std::vector<std::vector<std::size_t>> on_rank_; // [num_ranks] active experts matched to it
  std::vector<std::uint8_t> visited_;             // [num_ranks] by the search for a path
};

}  // namespace moebius::policy
