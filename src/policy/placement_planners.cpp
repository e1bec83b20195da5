// SPDX-License-Identifier: Apache-2.0
#include "policy/placement_planners.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

/// A map that is being filled.
class Filling {
 public:
  Filling(int num_replicas, int num_ranks)
      : map_(num_ranks, (num_replicas + num_ranks - 1) / num_ranks), used_(static_cast<std::size_t>(num_ranks)),
        load_(static_cast<std::size_t>(num_ranks)) {
    for (int rank = 0; rank < num_ranks; ++rank) capacity_.push_back(num_replicas / num_ranks + (rank < num_replicas % num_ranks ? 1 : 0));
  }
  [[nodiscard]] int num_ranks() const { return map_.num_ranks; }
  [[nodiscard]] bool has_room(int rank) const { return used_[at(rank)] < capacity_[at(rank)]; }
  [[nodiscard]] double load(int rank) const { return load_[at(rank)]; }
  [[nodiscard]] bool holds(int rank, std::int32_t expert) const {
    for (int place = 0; place < used_[at(rank)]; ++place) {
      if (map_.at(rank, place) == expert) return true;
    }
    return false;
  }
  void put(int rank, const Replica& replica) {
    MOEBIUS_ENSURE(has_room(rank));
    map_.set(rank, used_[at(rank)]++, replica.expert);
    load_[at(rank)] += replica.weight;
  }
  /// For a replica whose expert is on every rank with room: another one makes room for it.
  void put_by_exchange(const Replica& replica) {
    int open = 0;
    while (!has_room(open)) ++open;
    for (int rank = 0; rank < num_ranks(); ++rank) {
      if (holds(rank, replica.expert)) continue;
      for (int place = 0; place < used_[at(rank)]; ++place) {
        const std::int32_t other = map_.at(rank, place);
        if (holds(open, other)) continue;
        put(open, {other, 0});
        map_.set(rank, place, replica.expert);
        return;
      }
    }
    put(open, replica);  // more replicas than ranks
  }
  [[nodiscard]] LayerMap take() { return std::move(map_); }

 private:
  static std::size_t at(int rank) { return static_cast<std::size_t>(rank); }
  LayerMap map_;
  std::vector<int> used_, capacity_;  // [ranks]
  std::vector<double> load_;          // [ranks]
};

std::vector<std::size_t> heaviest_first(std::span<const double> weights) {
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return weights[a] > weights[b]; });
  return order;
}

std::vector<std::int64_t> picked(std::span<const std::int64_t> load, std::span<const int> ids) {
  std::vector<std::int64_t> values;
  for (const int id : ids) values.push_back(load[static_cast<std::size_t>(id)]);
  return values;
}

/// The experts of each node, in EPLB's order: whole groups, heaviest first, each to the lightest node.
std::vector<std::vector<int>> experts_of_nodes(std::span<const std::int64_t> load, int num_groups, int num_nodes) {
  const int group_size = static_cast<int>(load.size()) / num_groups, groups_per_node = num_groups / num_nodes;
  std::vector<double> sums(static_cast<std::size_t>(num_groups));
  for (std::size_t e = 0; e < load.size(); ++e) sums[e / static_cast<std::size_t>(group_size)] += static_cast<double>(load[e]);
  const Packing packing = balanced_packing(sums, num_nodes);
  std::vector<std::vector<int>> nodes(static_cast<std::size_t>(num_nodes), std::vector<int>(static_cast<std::size_t>(groups_per_node * group_size)));
  for (int group = 0; group < num_groups; ++group) {
    const auto g = static_cast<std::size_t>(group);
    for (int i = 0; i < group_size; ++i) {
      nodes[static_cast<std::size_t>(packing.pack[g])][static_cast<std::size_t>(packing.place_in_pack[g] * group_size + i)] = group * group_size + i;
    }
  }
  return nodes;
}

/// Copies the map of one node, whose experts count from 0, into the map of all.
void put_node(const LayerMap& node, std::span<const int> experts, int first_rank, LayerMap& all) {
  for (int rank = 0; rank < node.num_ranks; ++rank) {
    for (int place = 0; place < node.num_places; ++place) {
      if (const std::int32_t id = node.at(rank, place); id >= 0) all.set(first_rank + rank, place, experts[static_cast<std::size_t>(id)]);
    }
  }
}

LayerMap packed(std::span<const Replica> replicas, int num_ranks) {
  std::vector<double> weights;
  for (const Replica& replica : replicas) weights.push_back(replica.weight);
  const Packing packing = balanced_packing(weights, num_ranks);
  LayerMap map(num_ranks, static_cast<int>(replicas.size()) / num_ranks);
  for (std::size_t i = 0; i < replicas.size(); ++i) map.set(packing.pack[i], packing.place_in_pack[i], replicas[i].expert);
  return map;
}

}  // namespace

std::vector<Replica> one_replica_each(int num_experts) {
  std::vector<Replica> replicas;
  for (int expert = 0; expert < num_experts; ++expert) replicas.push_back({expert, 1.0});
  return replicas;
}

int num_physical(int num_experts, double ratio, int num_ranks) {
  const double wanted = std::round(ratio * num_experts);
  return static_cast<int>(std::clamp(wanted, static_cast<double>(num_experts), static_cast<double>(num_experts) * num_ranks));
}

std::vector<int> replica_counts(std::span<const std::int64_t> load, int num_physical, int max_replicas) {
  MOEBIUS_EXPECT(num_physical >= static_cast<int>(load.size()));
  std::vector<int> counts(load.size(), 1);
  const bool all_zero = std::ranges::all_of(load, [](std::int64_t rows) { return rows == 0; });
  for (int made = static_cast<int>(load.size()); made < num_physical; ++made) {
    std::size_t best = load.size();
    double best_load = -1;
    for (std::size_t e = 0; e < load.size(); ++e) {
      if (max_replicas > 0 && counts[e] >= max_replicas) continue;
      const double per_replica = (all_zero && max_replicas > 0 ? 1.0 : static_cast<double>(load[e])) / counts[e];
      if (per_replica > best_load) {
        best = e;
        best_load = per_replica;
      }
    }
    MOEBIUS_EXPECT(best < load.size());
    ++counts[best];
  }
  return counts;
}

std::vector<Replica> replicas_of(std::span<const std::int64_t> load, std::span<const int> counts) {
  std::vector<Replica> replicas;
  const auto add = [&](std::size_t e) { replicas.push_back({static_cast<std::int32_t>(e), static_cast<double>(load[e]) / counts[e]}); };
  for (std::size_t e = 0; e < load.size(); ++e) add(e);
  for (std::size_t e = 0; e < load.size(); ++e) {
    for (int i = 1; i < counts[e]; ++i) add(e);
  }
  return replicas;
}

std::vector<Replica> by_weight(std::vector<Replica> replicas) {
  std::ranges::stable_sort(replicas, [](const Replica& a, const Replica& b) { return a.weight > b.weight; });
  return replicas;
}

LayerMap assign(std::span<const Replica> replicas, int num_ranks, const PlaceCost& cost, const PlacedAt& placed) {
  Filling filling(static_cast<int>(replicas.size()), num_ranks);
  std::vector<Replica> waiting;
  for (const Replica& replica : replicas) {
    int best = -1;
    double best_cost = 0;
    for (int rank = 0; rank < num_ranks; ++rank) {
      if (!filling.has_room(rank) || filling.holds(rank, replica.expert)) continue;
      const double here = cost(rank, replica, filling.load(rank));
      if (best < 0 || here < best_cost) {
        best = rank;
        best_cost = here;
      }
    }
    if (best < 0) {
      waiting.push_back(replica);
      continue;
    }
    filling.put(best, replica);
    if (placed) placed(best, replica);
  }
  for (const Replica& replica : waiting) filling.put_by_exchange(replica);
  return filling.take();
}

LayerMap linear_map(std::span<const Replica> replicas, int num_ranks) {
  return assign(replicas, num_ranks, [](int rank, const Replica&, double) { return rank; });
}

LayerMap round_robin_map(std::span<const Replica> replicas, int num_ranks) {
  const auto index_of = [&](const Replica& replica) { return static_cast<int>(&replica - replicas.data()); };
  return assign(replicas, num_ranks,
                [&](int rank, const Replica& replica, double) { return (rank + num_ranks - index_of(replica) % num_ranks) % num_ranks; });
}

Packing balanced_packing(std::span<const double> weights, int num_packs) {
  const auto packs = static_cast<std::size_t>(num_packs);
  MOEBIUS_EXPECT(num_packs > 0 && weights.size() % packs == 0);
  const int capacity = static_cast<int>(weights.size() / packs);
  Packing packing{std::vector<int>(weights.size()), std::vector<int>(weights.size())};
  if (capacity == 1) {
    std::iota(packing.pack.begin(), packing.pack.end(), 0);
    return packing;
  }
  std::vector<double> load(packs);
  std::vector<int> used(packs);
  for (const std::size_t item : heaviest_first(weights)) {
    std::size_t best = packs;
    for (std::size_t pack = 0; pack < packs; ++pack) {
      if (used[pack] < capacity && (best == packs || load[pack] < load[best])) best = pack;
    }
    packing.pack[item] = static_cast<int>(best);
    packing.place_in_pack[item] = used[best]++;
    load[best] += weights[item];
  }
  return packing;
}

LayerMap eplb_strict_map(std::span<const std::int64_t> load, EplbShape shape) {
  const int num_experts = static_cast<int>(load.size());
  if (shape.num_groups % shape.num_nodes != 0) shape.num_groups = shape.num_nodes = 1;
  MOEBIUS_EXPECT(num_experts % shape.num_groups == 0 && shape.num_physical % shape.num_ranks == 0 && shape.num_ranks % shape.num_nodes == 0);
  const int ranks_per_node = shape.num_ranks / shape.num_nodes;
  LayerMap map(shape.num_ranks, shape.num_physical / shape.num_ranks);
  int first_rank = 0;
  for (const std::vector<int>& experts : experts_of_nodes(load, shape.num_groups, shape.num_nodes)) {
    const std::vector<std::int64_t> here = picked(load, experts);
    // replicate_experts of EPLB: the extra replicas stand in the order in which they were made.
    std::vector<int> counts(here.size(), 1);
    std::vector<std::int32_t> order;
    for (int e = 0; e < static_cast<int>(here.size()); ++e) order.push_back(e);
    for (int made = static_cast<int>(here.size()); made < shape.num_physical / shape.num_nodes; ++made) {
      const std::vector<int> next = replica_counts(here, made + 1, 0);
      for (std::size_t e = 0; e < next.size(); ++e) {
        if (next[e] != counts[e]) order.push_back(static_cast<std::int32_t>(e));
      }
      counts = next;
    }
    std::vector<Replica> replicas;
    for (const std::int32_t e : order) {
      const auto idx = static_cast<std::size_t>(e);
      replicas.push_back({e, static_cast<double>(here[idx]) / counts[idx]});
    }
    put_node(packed(replicas, ranks_per_node), experts, first_rank, map);
    first_rank += ranks_per_node;
  }
  return map;
}

LayerMap eplb_map(std::span<const std::int64_t> load, EplbShape shape) {
  const int num_experts = static_cast<int>(load.size());
  const bool divides = shape.num_groups % shape.num_nodes == 0 && num_experts % shape.num_groups == 0 &&
                       shape.num_ranks % shape.num_nodes == 0 && shape.num_physical % shape.num_nodes == 0 &&
                       (shape.num_physical / shape.num_nodes) % (shape.num_ranks / shape.num_nodes) == 0;
  if (!divides) shape.num_groups = shape.num_nodes = 1;
  const int ranks_per_node = shape.num_ranks / shape.num_nodes;
  LayerMap map(shape.num_ranks, (shape.num_physical + shape.num_ranks - 1) / shape.num_ranks);
  int first_rank = 0;
  for (const std::vector<int>& experts : experts_of_nodes(load, shape.num_groups, shape.num_nodes)) {
    const std::vector<std::int64_t> here = picked(load, experts);
    const std::vector<int> counts = replica_counts(here, shape.num_physical / shape.num_nodes, ranks_per_node);
    const std::vector<Replica> replicas = by_weight(replicas_of(here, counts));
    const LayerMap node = assign(replicas, ranks_per_node, [](int, const Replica&, double held) { return held; });
    put_node(node, experts, first_rank, map);
    first_rank += ranks_per_node;
  }
  return map;
}

LayerMap speed_lpt_map(std::span<const Replica> replicas, std::span<const double> speed) {
  return assign(by_weight({replicas.begin(), replicas.end()}), static_cast<int>(speed.size()),
                [&](int rank, const Replica& replica, double held) { return (held + replica.weight) / speed[static_cast<std::size_t>(rank)]; });
}

}  // namespace moebius::policy
