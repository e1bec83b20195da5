// SPDX-License-Identifier: Apache-2.0
#include "policy/placement.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

/// `num_experts` cut into `num_ranks` runs: the first `num_longer` have one expert more than the others.
struct Cut {
  Cut(int num_experts, int num_ranks) : run(num_experts / num_ranks), num_longer(num_experts % num_ranks) {}
  [[nodiscard]] int first_of(int rank_idx) const { return rank_idx * run + std::min(rank_idx, num_longer); }
  int run;
  int num_longer;
};

}  // namespace

LinearPlacement::LinearPlacement(std::vector<int> experts_per_layer, std::span<const RankId> expert_ranks)
    : experts_per_layer_(std::move(experts_per_layer)), ranks_(expert_ranks.begin(), expert_ranks.end()) {
  MOEBIUS_EXPECT(!ranks_.empty() && std::set<RankId>(ranks_.begin(), ranks_.end()).size() == ranks_.size());
  MOEBIUS_EXPECT(std::all_of(experts_per_layer_.begin(), experts_per_layer_.end(), [](int n) { return n >= 0; }));
}

PhysicalExpert LinearPlacement::host(LayerId layer, ExpertId expert) const {
  MOEBIUS_EXPECT(layer.valid() && layer.idx() < experts_per_layer_.size());
  const int num_experts = experts_per_layer_[layer.idx()];
  MOEBIUS_EXPECT(expert.valid() && expert.value < num_experts);
  const Cut cut(num_experts, static_cast<int>(ranks_.size()));
  const int num_in_longer = cut.num_longer * (cut.run + 1);
  const int rank_idx = expert.value < num_in_longer ? expert.value / (cut.run + 1)
                                                    : cut.num_longer + (expert.value - num_in_longer) / cut.run;
  return {ranks_[rank_idx], PlaceId(expert.value - cut.first_of(rank_idx))};
}

std::vector<HostedExpert> LinearPlacement::hosted(RankId rank) const {
  std::vector<HostedExpert> result;
  const auto found = std::find(ranks_.begin(), ranks_.end(), rank);
  if (found == ranks_.end()) return result;
  const int rank_idx = static_cast<int>(found - ranks_.begin());
  for (std::size_t layer = 0; layer < experts_per_layer_.size(); ++layer) {
    const Cut cut(experts_per_layer_[layer], static_cast<int>(ranks_.size()));
    const int first = cut.first_of(rank_idx);
    for (int expert = first; expert < cut.first_of(rank_idx + 1); ++expert) {
      result.push_back({LayerId(layer), ExpertId(expert), PlaceId(expert - first)});
    }
  }
  return result;
}

}  // namespace moebius::policy
