// SPDX-License-Identifier: Apache-2.0
#include "policy/placement.hpp"

#include <algorithm>
#include <set>
#include <utility>

#include "base/check.hpp"
#include "policy/placement_planners.hpp"

namespace moebius::policy {
namespace {

std::vector<LayerMap> linear_maps(const std::vector<int>& experts_per_layer, std::size_t num_ranks) {
  MOEBIUS_EXPECT(num_ranks > 0);
  std::vector<LayerMap> maps;
  for (const int num_experts : experts_per_layer) maps.push_back(linear_map(one_replica_each(num_experts), static_cast<int>(num_ranks)));
  return maps;
}

}  // namespace

std::string problem_of(const LayerMap& map, int num_experts, Gaps gaps) {
  if (map.expert.size() != map.cell(map.num_ranks, 0)) return "its size is not ranks times places";
  std::vector<int> count(static_cast<std::size_t>(num_experts));
  for (int rank = 0; rank < map.num_ranks; ++rank) {
    for (int place = 0; place < map.num_places; ++place) {
      const std::int32_t id = map.at(rank, place);
      const std::string where = " at rank " + std::to_string(rank) + ", place " + std::to_string(place);
      if (id < -1 || id >= num_experts) return "expert " + std::to_string(id) + where + " does not exist";
      if (gaps == Gaps::refused && id >= 0 && place > 0 && map.at(rank, place - 1) < 0) return "there is an empty place before the expert" + where;
      if (id >= 0) ++count[static_cast<std::size_t>(id)];
    }
  }
  const auto missing = std::ranges::find(count, 0);
  return missing == count.end() ? "" : "expert " + std::to_string(missing - count.begin()) + " has no place";
}

TablePlacement::TablePlacement(std::vector<LayerMap> maps, const std::vector<int>& experts_per_layer,
                               std::span<const RankId> expert_ranks)
    : maps_(std::move(maps)), ranks_(expert_ranks.begin(), expert_ranks.end()) {
  MOEBIUS_EXPECT(!ranks_.empty() && std::set<RankId>(ranks_.begin(), ranks_.end()).size() == ranks_.size());
  MOEBIUS_EXPECT(maps_.size() == experts_per_layer.size());
  first_.resize(maps_.size());
  physical_.resize(maps_.size());
  for (std::size_t layer = 0; layer < maps_.size(); ++layer) {
    first_[layer].resize(static_cast<std::size_t>(experts_per_layer[layer]) + 1);
    list_replicas(layer);
  }
}

void TablePlacement::list_replicas(std::size_t layer) {
  const LayerMap& map = maps_[layer];
  std::vector<std::size_t>& first = first_[layer];
  const auto num_experts = static_cast<int>(first.size()) - 1;
  MOEBIUS_EXPECT(static_cast<std::size_t>(map.num_ranks) == ranks_.size() && problem_of(map, num_experts, Gaps::allowed).empty());
  std::ranges::fill(first, 0);
  for (const std::int32_t id : map.expert) {
    if (id >= 0) ++first[static_cast<std::size_t>(id) + 1];
  }
  for (std::size_t expert = 1; expert < first.size(); ++expert) first[expert] += first[expert - 1];
  std::vector<PhysicalExpert>& physical = physical_[layer];
  physical.resize(first.back());
  std::vector<std::size_t> next(first.begin(), first.end() - 1);
  for (int rank = 0; rank < map.num_ranks; ++rank) {
    for (int place = 0; place < map.num_places; ++place) {
      if (map.at(rank, place) < 0) continue;
      physical[next[static_cast<std::size_t>(map.at(rank, place))]++] = {ranks_[static_cast<std::size_t>(rank)], PlaceId(place)};
    }
  }
  for (std::size_t expert = 0; expert + 1 < first.size(); ++expert) {
    const auto replicas = std::span(physical).subspan(first[expert], first[expert + 1] - first[expert]);
    std::ranges::sort(replicas, {}, [](const PhysicalExpert& p) { return std::pair(p.rank, p.place); });
  }
}

void TablePlacement::set_map(LayerId layer, LayerMap map) {
  maps_.at(layer.idx()) = std::move(map);
  list_replicas(layer.idx());
}

std::span<const PhysicalExpert> TablePlacement::replicas(LayerId layer, ExpertId expert) const {
  MOEBIUS_EXPECT(layer.valid() && layer.idx() < maps_.size());
  const std::vector<std::size_t>& first = first_[layer.idx()];
  MOEBIUS_EXPECT(expert.valid() && expert.idx() + 1 < first.size());
  return std::span(physical_[layer.idx()]).subspan(first[expert.idx()], first[expert.idx() + 1] - first[expert.idx()]);
}

std::vector<HostedExpert> TablePlacement::hosted(RankId rank) const {
  std::vector<HostedExpert> result;
  const auto found = std::ranges::find(ranks_, rank);
  if (found == ranks_.end()) return result;
  const int rank_idx = static_cast<int>(found - ranks_.begin());
  for (std::size_t layer = 0; layer < maps_.size(); ++layer) {
    for (int place = 0; place < maps_[layer].num_places; ++place) {
      if (maps_[layer].at(rank_idx, place) >= 0) result.push_back({LayerId(layer), ExpertId(maps_[layer].at(rank_idx, place)), PlaceId(place)});
    }
  }
  return result;
}

std::vector<LayerMap> whole_models(const std::vector<int>& experts_per_layer, int num_ranks) {
  std::vector<LayerMap> maps;
  for (const int num_experts : experts_per_layer) {
    LayerMap& map = maps.emplace_back(num_ranks, num_experts);
    for (int rank = 0; rank < num_ranks; ++rank) {
      for (int expert = 0; expert < num_experts; ++expert) map.set(rank, expert, expert);
    }
  }
  return maps;
}

LinearPlacement::LinearPlacement(const std::vector<int>& experts_per_layer, std::span<const RankId> expert_ranks)
    : TablePlacement(linear_maps(experts_per_layer, expert_ranks.size()), experts_per_layer, expert_ranks) {}

}  // namespace moebius::policy
