// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the routed experts of a model live. Pure data once built: every rank builds its own copy from
// the same arguments and gets the same answer. Attention ranks ask `replicas` (by way of a ReplicaRouter)
// for each (token, expert); expert ranks ask `hosted` once, to load weights and to make their micro-queues.
// Invariant: every expert of a layer has at least one replica; `replicas` and `hosted` are inverse to each
// other. Planned places of a (layer, rank) are 0, 1, ... without a gap; where experts moved away there are gaps.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/ids.hpp"

namespace moebius::policy {

/// Where one physical expert lives.
struct PhysicalExpert {
  RankId rank;
  PlaceId place;
  bool operator==(const PhysicalExpert&) const = default;
};

/// What one place of a rank holds.
struct HostedExpert {
  LayerId layer;
  ExpertId expert;
  PlaceId place;
  bool operator==(const HostedExpert&) const = default;
};

/// physical_to_logical of one layer: which logical expert sits at (expert rank, place), -1: none. The expert
/// ranks count from 0 here. A dense layer has no places.
struct LayerMap {
  int num_ranks = 0, num_places = 0;
  std::vector<std::int32_t> expert;  // [num_ranks, num_places]

  LayerMap() = default;
  LayerMap(int ranks, int places)
      : num_ranks(ranks), num_places(places), expert(static_cast<std::size_t>(ranks) * static_cast<std::size_t>(places), -1) {}
  [[nodiscard]] std::int32_t at(int rank_idx, int place) const { return expert[cell(rank_idx, place)]; }
  void set(int rank_idx, int place, std::int32_t id) { expert[cell(rank_idx, place)] = id; }
  [[nodiscard]] std::size_t cell(int rank_idx, int place) const {
    return static_cast<std::size_t>(rank_idx) * static_cast<std::size_t>(num_places) + static_cast<std::size_t>(place);
  }
  bool operator==(const LayerMap&) const = default;
};

/// Whether used places of a rank stand before the empty ones, or anywhere.
enum class Gaps : std::uint8_t { refused, allowed };

/// What is wrong with a map for `num_experts` experts, as a reason in brackets would say it; empty: nothing.
std::string problem_of(const LayerMap& map, int num_experts, Gaps gaps = Gaps::refused);

/// One of the program's four seams.
class ExpertPlacement {
 public:
  virtual ~ExpertPlacement() = default;
  /// All physical experts that may serve a logical one, by rank, then by place; at least one.
  [[nodiscard]] virtual std::span<const PhysicalExpert> replicas(LayerId layer, ExpertId expert) const = 0;
  /// Everything `rank` hosts, by layer, then by place; nothing for a rank without experts.
  [[nodiscard]] virtual std::vector<HostedExpert> hosted(RankId rank) const = 0;
  /// The first of the replicas.
  [[nodiscard]] PhysicalExpert host(LayerId layer, ExpertId expert) const { return replicas(layer, expert).front(); }
};

/// Any placement, by its maps.
class TablePlacement : public ExpertPlacement {
 public:
  /// `maps[l]` holds experts 0 .. experts_per_layer[l] - 1 (0: a dense layer) and has no problem but gaps;
  /// `expert_ranks` are as many as the maps have ranks, all different.
  TablePlacement(std::vector<LayerMap> maps, const std::vector<int>& experts_per_layer, std::span<const RankId> expert_ranks);

  [[nodiscard]] std::span<const PhysicalExpert> replicas(LayerId layer, ExpertId expert) const override;
  [[nodiscard]] std::vector<HostedExpert> hosted(RankId rank) const override;
  [[nodiscard]] const std::vector<LayerMap>& maps() const { return maps_; }
  /// Another map of the same experts: the placement of that layer from here on.
  void set_map(LayerId layer, LayerMap map);

 private:
  /// replicas() of a layer from its map.
  void list_replicas(std::size_t layer);

  std::vector<LayerMap> maps_;  // [layers]
  std::vector<RankId> ranks_;
  std::vector<std::vector<std::size_t>> first_;     // [layers][experts + 1] into physical_
  std::vector<std::vector<PhysicalExpert>> physical_;  // [layers]
};

/// Every rank has every expert, in id order; all layers.
std::vector<LayerMap> whole_models(const std::vector<int>& experts_per_layer, int num_ranks);

/// Each expert on exactly one rank: experts in id order, cut into contiguous runs, one run a rank in the
/// order given. Run lengths differ by at most one, the longer ones first; ranks beyond the number of
/// experts host nothing. The same in every layer.
class LinearPlacement final : public TablePlacement {
 public:
  /// `experts_per_layer[l]` >= 0 routed experts in layer l (0: a dense layer); at least one rank, all different.
  LinearPlacement(const std::vector<int>& experts_per_layer, std::span<const RankId> expert_ranks);
};

}  // namespace moebius::policy
