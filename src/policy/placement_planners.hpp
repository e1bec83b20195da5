// SPDX-License-Identifier: Apache-2.0
#pragma once
// Planners that look at the total load of experts, or at nothing: `linear`, `round_robin`, EPLB
// (github.com/deepseek-ai/EPLB) and `speed_lpt`. Pure; ties to the lowest expert, then to the lowest rank.
//
// Places: P physical experts on R ranks; the first P % R ranks hold one more than the others. But for
// `eplb_strict_map`, no rank holds two replicas of one expert where P <= experts x ranks allows it.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "policy/placement.hpp"

namespace moebius::policy {

/// A physical expert that has no place yet.
struct Replica {
  std::int32_t expert = 0;
  double weight = 0;  ///< its share of the load
};

/// Experts 0 .. num_experts - 1, weight 1.
std::vector<Replica> one_replica_each(int num_experts);

/// How many physical experts a ratio means: rounded, at least one for each expert, at most one on every rank.
int num_physical(int num_experts, double ratio, int num_ranks);

/// How many replicas each expert gets: one each, then num_physical - n times one more for the expert with the largest
/// load per replica. At most `max_replicas` of one expert (0: no limit). Where all loads are zero they count as equal.
std::vector<int> replica_counts(std::span<const std::int64_t> load, int num_physical, int max_replicas);
/// The replicas in the order in which EPLB makes them: one of each expert, then the others by expert.
std::vector<Replica> replicas_of(std::span<const std::int64_t> load, std::span<const int> counts);
/// Heaviest first; ties keep their order.
std::vector<Replica> by_weight(std::vector<Replica> replicas);

/// The cost of putting a replica on a rank; `load` is what the rank holds, by weight.
using PlaceCost = std::function<double(int rank_idx, const Replica& replica, double load)>;
/// Told of each replica that got its place by cost.
using PlacedAt = std::function<void(int rank_idx, const Replica& replica)>;
/// Each replica in turn goes to the rank of the least cost among those with room that do not hold its expert. What
/// finds none waits until the end and then changes places with a replica elsewhere.
LayerMap assign(std::span<const Replica> replicas, int num_ranks, const PlaceCost& cost, const PlacedAt& placed = {});

/// Replicas in their order fill one rank after the other.
LayerMap linear_map(std::span<const Replica> replicas, int num_ranks);
/// Replica i on rank i % R.
LayerMap round_robin_map(std::span<const Replica> replicas, int num_ranks);

/// EPLB's balanced_packing: n items into m packs of n / m (m divides n), heaviest first, each into the lightest pack
/// with room. Where packs hold one item, item i goes to pack i.
struct Packing {
  std::vector<int> pack, place_in_pack;  // [items]
};
Packing balanced_packing(std::span<const double> weights, int num_packs);

struct EplbShape {
  int num_physical = 0, num_groups = 1, num_nodes = 1, num_ranks = 1;
};
/// EPLB as published, also in what is wrong with it: two replicas of an expert may share a rank, and zero loads pile
/// replicas on expert 0. num_ranks divides num_physical; nodes divide ranks.
LayerMap eplb_strict_map(std::span<const std::int64_t> load, EplbShape shape);
/// The same hierarchy without these defects, for any number of places. Where nodes do not divide groups, ranks and
/// physical experts there is one node.
LayerMap eplb_map(std::span<const std::int64_t> load, EplbShape shape);

/// Heaviest replica first, to the rank that would be done with all it has soonest at its speed (rows per second).
LayerMap speed_lpt_map(std::span<const Replica> replicas, std::span<const double> speed);

}  // namespace moebius::policy
