// SPDX-License-Identifier: Apache-2.0
#include "ranks/live_report.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace moebius::ranks {
namespace {

void add_generation(io::PlacementHistory& history, std::span<const policy::LayerMap> maps, std::span<const RankId> expert_ranks) {
  const auto places = static_cast<std::size_t>(history.num_places);
  const std::size_t first = history.expert.size();
  history.expert.resize(first + maps.size() * static_cast<std::size_t>(history.num_ranks) * places, -1);
  for (std::size_t layer = 0; layer < maps.size(); ++layer) {
    for (std::size_t rank = 0; rank < expert_ranks.size(); ++rank) {
      const std::size_t cell = first + (layer * static_cast<std::size_t>(history.num_ranks) + expert_ranks[rank].idx()) * places;
      for (int place = 0; place < maps[layer].num_places; ++place) {
        history.expert[cell + static_cast<std::size_t>(place)] = maps[layer].at(static_cast<int>(rank), place);
      }
    }
  }
  ++history.num_generations;
}

}  // namespace

LiveReport make_live_report(const LivePlacement* live, const ExpertSide* experts) {
  LiveReport report;
  if (live == nullptr) return report;
  report.is_on = 1;
  report.counters = live->counters();
  if (experts != nullptr) report.longest_expert_call_s = experts->longest_call_s();
  if (live->coordinator() == nullptr) return report;
  report.changes = live->coordinator()->changes();
  report.num_spare = live->coordinator()->num_spare();
  std::size_t num_moves = 0;  // the last change may not have been published
  for (const LiveChange& change : report.changes) num_moves += static_cast<std::size_t>(change.num_moves);
  const auto& moves = live->coordinator()->moves();
  MOEBIUS_ENSURE(num_moves <= moves.size());
  report.moves.assign(moves.begin(), moves.begin() + static_cast<std::ptrdiff_t>(num_moves));
  return report;
}

void fill_rebalance(io::RunRecord& record, std::span<const LiveReport> live, const policy::TablePlacement& placement,
                    std::span<const RankId> expert_ranks) {
  const auto coordinator = std::ranges::find_if(live, [](const LiveReport& report) { return !report.changes.empty(); });
  policy::PlacementBook book(placement.maps(), coordinator == live.end() ? 0 : coordinator->num_spare);
  record.placement = {.num_generations = 0,
                      .num_layers = static_cast<int>(placement.maps().size()),
                      .num_ranks = static_cast<int>(live.size()),
                      .num_places = book.num_places(),
                      .expert = {}};
  add_generation(record.placement, book.maps(), expert_ranks);
  std::size_t next = 0;
  for (std::size_t i = 0; coordinator != live.end() && i < coordinator->changes.size(); ++i) {
    const LiveChange& change = coordinator->changes[i];
    const auto num_moves = static_cast<std::size_t>(change.num_moves);
    book.begin(std::span(coordinator->moves).subspan(next, num_moves));
    book.end();
    next += num_moves;
    add_generation(record.placement, book.maps(), expert_ranks);
    record.changes.push_back({.time_s = change.time_s, .generation = change.generation, .predicted_gain_s = change.predicted_s,
                              .measured_gain_s = change.measured_s, .cost_s = change.cost_s, .staging_s = change.staging_s,
                              .num_moves = change.num_moves, .bytes = change.bytes, .rank_s = change.rank_s});
  }
  for (std::size_t rank = 0; rank < live.size(); ++rank) {
    const LiveReport& report = live[rank];
    if (report.is_on == 0) continue;
    record.rebalance.push_back({.rank = static_cast<std::int32_t>(rank), .experts_received = report.counters.experts_received,
                                .bytes_staged = report.counters.bytes_staged, .staging_s = report.counters.staging_s,
                                .total_s = report.counters.total_s, .largest_stall_s = report.counters.largest_stall_s,
                                .longest_expert_call_s = report.longest_expert_call_s});
  }
}

}  // namespace moebius::ranks
