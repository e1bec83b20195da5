// SPDX-License-Identifier: Apache-2.0
#pragma once
// The placement as it changes while a job runs: maps of the current generation, and which part of its rank's weight
// memory each physical expert takes. Every rank keeps one and is told the moves alone: from the same moves all books
// follow alike, parts included (the lowest free one is taken, in the order of the moves).
//
// A change has two steps. begin(): experts get their new places and parts, the maps are those of the new generation, and
// the old places and parts stay taken, since rows may be on their way to them. end(): nobody uses the old ones any more.

#include <cstdint>
#include <span>
#include <vector>

#include "policy/placement.hpp"

namespace moebius::policy {

/// One physical expert goes to an empty place of another rank. Expert ranks count from 0.
struct ExpertMove {
  std::int32_t layer = 0, expert = 0;
  std::int32_t from_rank = 0, from_place = 0;
  std::int32_t to_rank = 0, to_place = 0;
  bool operator==(const ExpertMove&) const = default;
};

class PlacementBook {
 public:
  /// Every rank has `num_spare` parts beyond those of its experts, and every layer with experts as many places more.
  PlacementBook(std::span<const LayerMap> maps, int num_spare);

  [[nodiscard]] int num_ranks() const { return static_cast<int>(free_parts_.size()); }
  [[nodiscard]] int num_layers() const { return static_cast<int>(maps_.size()); }
  /// Of the newest generation. Wider than those of the start; places that became empty are gaps.
  [[nodiscard]] const LayerMap& map(int layer) const { return maps_[static_cast<std::size_t>(layer)]; }
  [[nodiscard]] std::span<const LayerMap> maps() const { return maps_; }
  /// Places of a layer with experts.
  [[nodiscard]] int num_places() const { return num_places_; }
  [[nodiscard]] int num_free_parts(int rank) const { return static_cast<int>(free_parts_[static_cast<std::size_t>(rank)].size()); }
  /// Of a place that is taken.
  [[nodiscard]] int part(int layer, int rank, int place) const;
  /// The lowest place of a layer on a rank that is free, also of what is leaving, but for `skipped` of them; -1: none.
  [[nodiscard]] int free_place(int layer, int rank, int skipped = 0) const;
  /// Whether a rank has a copy of an expert.
  [[nodiscard]] bool holds(int layer, int rank, int expert) const;

  /// All moves from taken places to free ones of ranks with free parts; the book must not be within a change.
  void begin(std::span<const ExpertMove> moves);
  void end();
  [[nodiscard]] bool is_changing() const { return !moves_.empty(); }

 private:
  [[nodiscard]] std::size_t cell(int layer, int rank, int place) const;
  [[nodiscard]] std::int32_t& part_of(int layer, int rank, int place) { return parts_[static_cast<std::size_t>(layer)][cell(layer, rank, place)]; }

  int num_places_ = 0;
  std::vector<LayerMap> maps_;                       // [layers]
  std::vector<std::vector<std::int32_t>> parts_;     // [layers][cells of the map] -1: the place is free
  std::vector<std::vector<std::int32_t>> free_parts_;  // [ranks] ascending
  std::vector<ExpertMove> moves_;                    // of the change that is going on
};

}  // namespace moebius::policy
