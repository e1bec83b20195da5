// SPDX-License-Identifier: Apache-2.0
#include "policy/placement_book.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace moebius::policy {

PlacementBook::PlacementBook(std::span<const LayerMap> maps, int num_spare) {
  MOEBIUS_EXPECT(!maps.empty() && num_spare >= 0);
  const int num_ranks = maps.front().num_ranks;
  for (const LayerMap& map : maps) num_places_ = std::max(num_places_, map.num_places + num_spare);
  std::vector<std::int32_t> num_parts(static_cast<std::size_t>(num_ranks));
  for (const LayerMap& map : maps) {
    MOEBIUS_EXPECT(map.num_ranks == num_ranks);
    LayerMap& wide = maps_.emplace_back(num_ranks, map.num_places == 0 ? 0 : num_places_);
    auto& parts = parts_.emplace_back(wide.expert.size(), -1);
    for (int rank = 0; rank < num_ranks; ++rank) {
      for (int place = 0; place < map.num_places; ++place) {
        if (map.at(rank, place) < 0) continue;
        wide.set(rank, place, map.at(rank, place));
        parts[wide.cell(rank, place)] = num_parts[static_cast<std::size_t>(rank)]++;
      }
    }
  }
  for (const std::int32_t first : num_parts) {
    auto& free = free_parts_.emplace_back();
    for (std::int32_t part = first; part < first + num_spare; ++part) free.push_back(part);
  }
}

std::size_t PlacementBook::cell(int layer, int rank, int place) const {
  const LayerMap& map = maps_.at(static_cast<std::size_t>(layer));
  MOEBIUS_EXPECT(rank >= 0 && rank < map.num_ranks && place >= 0 && place < map.num_places);
  return map.cell(rank, place);
}

int PlacementBook::part(int layer, int rank, int place) const {
  const std::int32_t part = parts_[static_cast<std::size_t>(layer)][cell(layer, rank, place)];
  MOEBIUS_EXPECT(part >= 0);
  return part;
}

int PlacementBook::free_place(int layer, int rank, int skipped) const {
  const LayerMap& map = this->map(layer);
  for (int place = 0; place < map.num_places; ++place) {
    if (parts_[static_cast<std::size_t>(layer)][map.cell(rank, place)] < 0 && skipped-- == 0) return place;
  }
  return -1;
}

bool PlacementBook::holds(int layer, int rank, int expert) const {
  const LayerMap& map = this->map(layer);
  const auto first = map.expert.begin() + static_cast<std::ptrdiff_t>(map.cell(rank, 0));
  return std::find(first, first + map.num_places, expert) != first + map.num_places;
}

void PlacementBook::begin(std::span<const ExpertMove> moves) {
  MOEBIUS_EXPECT(!is_changing() && !moves.empty());
  moves_.assign(moves.begin(), moves.end());
  for (const ExpertMove& move : moves_) {
    LayerMap& map = maps_.at(static_cast<std::size_t>(move.layer));
    MOEBIUS_EXPECT(part_of(move.layer, move.from_rank, move.from_place) >= 0 && map.at(move.from_rank, move.from_place) == move.expert);
    auto& free = free_parts_.at(static_cast<std::size_t>(move.to_rank));
    std::int32_t& part = part_of(move.layer, move.to_rank, move.to_place);
    MOEBIUS_EXPECT(part < 0 && !free.empty());
    part = free.front();
    free.erase(free.begin());
    map.set(move.from_rank, move.from_place, -1);
    map.set(move.to_rank, move.to_place, move.expert);
  }
}

void PlacementBook::end() {
  MOEBIUS_EXPECT(is_changing());
  for (const ExpertMove& move : moves_) {
    std::int32_t& part = part_of(move.layer, move.from_rank, move.from_place);
    auto& free = free_parts_[static_cast<std::size_t>(move.from_rank)];
    free.insert(std::ranges::lower_bound(free, part), part);
    part = -1;
  }
  moves_.clear();
}

}  // namespace moebius::policy
