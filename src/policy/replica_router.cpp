// SPDX-License-Identifier: Apache-2.0
#include "policy/replica_router.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

void add_to(std::vector<std::int64_t>& sums, const std::vector<std::int64_t>& values) {
  MOEBIUS_EXPECT(sums.size() == values.size());
  for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += values[i];
}

void raise_to(std::vector<std::int64_t>& largest, const std::vector<std::int64_t>& values) {
  MOEBIUS_EXPECT(largest.size() == values.size());
  for (std::size_t i = 0; i < largest.size(); ++i) largest[i] = std::max(largest[i], values[i]);
}

}  // namespace

ActivationCounters::ActivationCounters(int layers, int ranks) : num_layers(layers), num_ranks(ranks) {
  const auto l = static_cast<std::size_t>(layers), cells = l * static_cast<std::size_t>(ranks);
  for (auto* per_layer : {&micro_batches, &even_micro_batches, &largest_activated, &largest_rows}) per_layer->assign(l, 0);
  for (auto* per_rank : {&activated, &rows, &max_activated, &max_rows}) per_rank->assign(cells, 0);
}

void ActivationCounters::add(const ActivationCounters& other) {
  if (other.num_layers == 0) return;
  if (num_layers == 0) *this = ActivationCounters(other.num_layers, other.num_ranks);
  MOEBIUS_EXPECT(num_layers == other.num_layers && num_ranks == other.num_ranks);
  add_to(micro_batches, other.micro_batches);
  add_to(even_micro_batches, other.even_micro_batches);
  add_to(largest_activated, other.largest_activated);
  add_to(largest_rows, other.largest_rows);
  add_to(activated, other.activated);
  add_to(rows, other.rows);
  raise_to(max_activated, other.max_activated);
  raise_to(max_rows, other.max_rows);
}

ReplicaRouter::ReplicaRouter(const ExpertPlacement& placement, int num_layers, int num_experts, int num_ranks, int first_rank,
                             const Job::Replicas& options)
    : placement_(placement), num_experts_(num_experts), options_(options), choice_(num_ranks), first_rank_(first_rank),
      rows_of_(static_cast<std::size_t>(num_experts)), active_idx_(rows_of_.size()),
      next_replica_(rows_of_.size() * static_cast<std::size_t>(num_layers), static_cast<std::uint32_t>(first_rank)),
      rows_at_(static_cast<std::size_t>(num_ranks)), counters_(num_layers, num_ranks) {}

std::span<const PhysicalExpert> ReplicaRouter::route(LayerId layer, std::span<const std::int32_t> experts) {
  std::ranges::fill(rows_of_, 0);
  for (const std::int32_t expert : experts) {
    MOEBIUS_EXPECT(expert < num_experts_);
    if (expert >= 0) ++rows_of_[static_cast<std::size_t>(expert)];
  }
  find_active(layer);
  hosts_.assign(experts.size(), PhysicalExpert{});
  const bool dealt_out = deals_out();
  if (dealt_out) deal_out(layer, experts);
  else gather(experts, choose(first_rank_));
  for (std::size_t i = 0; i < experts.size(); ++i) {
    if (experts[i] >= 0) add_rows(hosts_[i], 1);
  }
  count(layer, dealt_out);
  first_rank_ = (first_rank_ + 1) % counters_.num_ranks;
  return hosts_;
}

std::span<const PhysicalExpert> ReplicaRouter::route_of_all(LayerId layer, std::span<const std::int32_t> experts,
                                                            std::span<const std::int64_t> rows_of_all, bool counts) {
  MOEBIUS_EXPECT(rows_of_all.size() == rows_of_.size());
  std::ranges::copy(rows_of_all, rows_of_.begin());
  find_active(layer);
  hosts_.assign(experts.size(), PhysicalExpert{});
  const bool dealt_out = deals_out();
  std::span<const PhysicalExpert> chosen;
  if (dealt_out) {
    deal_out(layer, experts);
  } else {
    chosen = choose(first_rank_of_all_);
    gather(experts, chosen);
  }
  first_rank_of_all_ = (first_rank_of_all_ + 1) % counters_.num_ranks;
  for (std::size_t i = 0; counts && i < active_.size(); ++i) {
    const std::int64_t rows = rows_of_[static_cast<std::size_t>(active_[i].expert)];
    if (!dealt_out) {
      add_rows(chosen[i], rows);
      continue;
    }
    const auto num_replicas = static_cast<std::int64_t>(active_[i].replicas.size());
    for (std::int64_t r = 0; r < num_replicas; ++r) {  // dealt out by several ranks: even within a row each
      add_rows(active_[i].replicas[static_cast<std::size_t>(r)], rows / num_replicas + (r < rows % num_replicas ? 1 : 0));
    }
  }
  if (counts) count(layer, dealt_out);
  return hosts_;
}

void ReplicaRouter::find_active(LayerId layer) {
  active_.clear();
  for (std::size_t expert = 0; expert < rows_of_.size(); ++expert) {
    if (rows_of_[expert] == 0) continue;
    active_idx_[expert] = active_.size();
    active_.push_back({static_cast<std::int32_t>(expert), placement_.replicas(layer, ExpertId(expert))});
  }
}

bool ReplicaRouter::deals_out() const {
  std::int64_t num_rows = 0;
  for (const ActiveExpert& expert : active_) num_rows += rows_of_[static_cast<std::size_t>(expert.expert)];
  const bool dense = static_cast<double>(num_rows) > options_.knee_rows * static_cast<double>(active_.size());
  return options_.router == ReplicaRouterKind::even || dense;
}

void ReplicaRouter::add_rows(PhysicalExpert at, std::int64_t rows) {
  auto& places = rows_at_[at.rank.idx()];
  if (places.size() <= at.place.idx()) places.resize(at.place.idx() + 1);
  places[at.place.idx()] += rows;
}

void ReplicaRouter::deal_out(LayerId layer, std::span<const std::int32_t> experts) {
  std::uint32_t* next = next_replica_.data() + layer.idx() * rows_of_.size();
  for (std::size_t i = 0; i < experts.size(); ++i) {
    if (experts[i] < 0) continue;
    const auto expert = static_cast<std::size_t>(experts[i]);
    const auto replicas = active_[active_idx_[expert]].replicas;
    hosts_[i] = replicas[next[expert] % replicas.size()];
    ++next[expert];
  }
}

std::span<const PhysicalExpert> ReplicaRouter::choose(int first_rank) {
  switch (options_.router) {
    case ReplicaRouterKind::exact: return choice_.exact(active_, first_rank);
    case ReplicaRouterKind::fewest_first: return choice_.fewest_first(active_, first_rank);
    default: return choice_.metro(active_, first_rank);
  }
}

void ReplicaRouter::gather(std::span<const std::int32_t> experts, std::span<const PhysicalExpert> chosen) {
  for (std::size_t i = 0; i < experts.size(); ++i) {
    if (experts[i] >= 0) hosts_[i] = chosen[active_idx_[static_cast<std::size_t>(experts[i])]];
  }
}

void ReplicaRouter::count(LayerId layer, bool dealt_out) {
  std::int64_t largest_activated = 0, largest_rows = 0;
  for (std::size_t rank = 0; rank < rows_at_.size(); ++rank) {
    std::int64_t activated = 0, rows = 0;
    for (std::int64_t& at : rows_at_[rank]) {
      activated += at > 0 ? 1 : 0;
      rows += at;
      at = 0;
    }
    const std::size_t cell = layer.idx() * rows_at_.size() + rank;
    counters_.activated[cell] += activated;
    counters_.rows[cell] += rows;
    counters_.max_activated[cell] = std::max(counters_.max_activated[cell], activated);
    counters_.max_rows[cell] = std::max(counters_.max_rows[cell], rows);
    largest_activated = std::max(largest_activated, activated);
    largest_rows = std::max(largest_rows, rows);
  }
  ++counters_.micro_batches[layer.idx()];
  counters_.even_micro_batches[layer.idx()] += dealt_out ? 1 : 0;
  counters_.largest_activated[layer.idx()] += largest_activated;
  counters_.largest_rows[layer.idx()] += largest_rows;
}

}  // namespace moebius::policy
