// SPDX-License-Identifier: Apache-2.0
#include "ranks/coordinator.hpp"

#include <algorithm>
#include <cstring>
#include <functional>

#include "base/check.hpp"
#include "base/clock.hpp"

namespace moebius::ranks {
namespace {

/// Windows of load that a plan has to be good for. It is made for all but the newest one (policy/rebalance.hpp).
constexpr std::size_t num_windows = 3;
/// A window goes on until experts have so many rows in the mean: with fewer, what they got by chance looks like a load.
constexpr double least_rows_per_expert = 128;
/// A turn plans so long, and to the end of the exchange in hand: less than an expert call takes.
constexpr double planning_turn_s = 50e-6;
/// What copying costs before anything was copied: a byte read and a byte written, at a pace that any machine keeps.
constexpr double first_guess_bytes_per_s = 1e9;

std::vector<RankId> all_of(std::span<const RankId> attention_ranks, std::span<const RankId> expert_ranks) {
  std::vector<RankId> ranks(attention_ranks.begin(), attention_ranks.end());
  ranks.insert(ranks.end(), expert_ranks.begin(), expert_ranks.end());
  std::ranges::sort(ranks);
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  return ranks;
}

}  // namespace

void Coordinator::Pace::add(const Window& window) {
  length_s += window.length_s;
  num_rows += static_cast<double>(window.num_rows);
  expert_s.resize(window.expert_s.size());
  std::ranges::transform(expert_s, window.expert_s, expert_s.begin(), std::plus<>());
}

double Coordinator::Pace::busiest_s() const { return expert_s.empty() ? 0.0 : std::ranges::max(expert_s); }

Coordinator::Coordinator(Parts parts, policy::PlacementBook book)
    : parts_(std::move(parts)), book_(std::move(book)),
      acknowledged_(parts_.memory, all_of(parts_.attention_ranks, parts_.expert_ranks), BoardLayout::acknowledged),
      moved_on_(parts_.memory, parts_.attention_ranks, BoardLayout::moved_on), reports_(parts_.expert_ranks.size()), reads_(reports_.size()) {
  for (int layer = 0; layer < parts_.config.num_layers; ++layer) num_experts_ += parts_.config.is_moe(LayerId(layer)) ? parts_.config.num_experts : 0;
}

void Coordinator::turn(double now) {
  if (!start_s_) {
    start_s_ = now;
    next_s_ = parts_.options.force ? now + parts_.options.interval_s : now;
  }
  switch (state_) {
    case State::waiting:
      if (now < next_s_) return;
      if (parts_.options.force) {
        if (const auto moves = policy::forced_moves(book_, parts_.seed, generation_ + 1); !moves.empty()) return announce(moves, now);
        next_s_ = now + parts_.options.interval_s;
        return;
      }
      start_reading();
      state_ = State::reading;
      [[fallthrough]];
    case State::reading:
      if (finish_reading()) take_snapshot(now);
      return;
    case State::planning:
      if (next_layer_ == parts_.config.num_layers && !search_) return decide(now);
      return plan();
    case State::staging:
      if (!acknowledged_.reach(generation_)) return;
      pending_.time_s = now - *start_s_;
      pending_.staging_s = now - announced_s_;
      changes_.push_back(pending_);
      store_stage(Step::published);
      state_ = State::leaving;
      return;
    case State::leaving:
      if (!moved_on_.reach(generation_)) return;
      book_.end();
      store_stage(Step::ended);
      last_ = {};  // the next window begins with a new snapshot
      next_s_ = parts_.options.force ? now + parts_.options.interval_s : now;
      state_ = State::waiting;
      return;
  }
}

void Coordinator::start_reading() {
  const std::size_t bytes = BoardLayout::rows - BoardLayout::figures + parts_.layout.num_counts * sizeof(std::int64_t);
  for (std::size_t rank = 0; rank < reports_.size(); ++rank) {
    reports_[rank].resize(bytes);
    reads_[rank] = parts_.memory.start_read(parts_.expert_ranks[rank], BoardLayout::figures, reports_[rank]);
  }
}

bool Coordinator::finish_reading() {
  bool all = true;
  for (auto& read : reads_) {
    if (read && parts_.memory.finished(*read)) read.reset();
    all = all && !read;
  }
  return all;
}

void Coordinator::take_snapshot(double now) {
  Snapshot snapshot{now, {}, std::vector<std::int64_t>(parts_.layout.num_counts)};
  for (const auto& report : reports_) {
    std::memcpy(&snapshot.figures.emplace_back(), report.data(), sizeof(RankFigures));
    for (std::size_t i = 0; i < snapshot.rows.size(); ++i) {
      std::int64_t rows = 0;
      std::memcpy(&rows, report.data() + (BoardLayout::rows - BoardLayout::figures) + i * sizeof(rows), sizeof(rows));
      snapshot.rows[i] += rows;
    }
  }
  Snapshot before = std::exchange(last_, std::move(snapshot));
  next_s_ = now + parts_.options.interval_s;
  state_ = State::waiting;
  if (before.figures.empty()) return;
  Window window{.length_s = now - before.time_s, .expert_s = {}, .num_rows = 0, .rows = last_.rows};
  for (std::size_t i = 0; i < window.rows.size(); ++i) window.rows[i] -= before.rows[i];
  for (std::size_t rank = 0; rank < last_.figures.size(); ++rank) {
    window.expert_s.push_back(last_.figures[rank].expert_s - before.figures[rank].expert_s);
    window.num_rows += last_.figures[rank].rows - before.figures[rank].rows;
  }
  if (static_cast<double>(window.num_rows) < least_rows_per_expert * num_experts_) {
    last_ = std::move(before);
    return;
  }
  measure_last_change(window);
  windows_.push_back(std::move(window));
  if (windows_.size() > num_windows) windows_.erase(windows_.begin());
  if (windows_.size() < num_windows) return;
  next_layer_ = 0;
  exchanges_.clear();
  state_ = State::planning;
}

void Coordinator::measure_last_change(const Window& window) {
  if (!before_last_change_) return;
  const Pace& before = *before_last_change_;
  LiveChange& change = changes_.back();
  if (after_last_change_.num_rows == 0) change.rank_s = copying_s() - copied_before_s_;
  after_last_change_.add(window);
  const double saved_per_row = before.busiest_s_per_row() - after_last_change_.busiest_s_per_row();
  change.measured_s = saved_per_row * before.num_rows / before.length_s * parts_.options.horizon_s;
}

Coordinator::Pace Coordinator::last_pace() const {
  Pace pace;
  for (const Window& window : windows_) pace.add(window);
  return pace;
}

double Coordinator::copying_s() const {
  double seconds = 0;
  for (const RankFigures& figures : last_.figures) seconds += figures.staging_s;
  return seconds;
}

void Coordinator::plan() {
  const double end_s = now_s() + planning_turn_s;
  while (now_s() < end_s) {
    if (search_) {
      if (search_->step()) continue;
      exchanges_.push_back(search_->result());
      search_.reset();
    }
    if (next_layer_ == parts_.config.num_layers) return;
    if (parts_.config.is_moe(LayerId(next_layer_))) begin_layer(next_layer_);
    ++next_layer_;
  }
}

void Coordinator::begin_layer(int layer) {
  const auto num_experts = static_cast<std::size_t>(parts_.config.num_experts);
  policy::LayerTrace loads{static_cast<int>(windows_.size()), parts_.config.num_experts, {}};
  for (const Window& window : windows_) {
    const auto first = window.rows.begin() + static_cast<std::ptrdiff_t>(static_cast<std::size_t>(layer) * num_experts);
    loads.rows.insert(loads.rows.end(), first, first + static_cast<std::ptrdiff_t>(num_experts));
  }
  search_.emplace(layer, book_, loads, parts_.curves, static_cast<int>(parts_.expert_ranks.size()) * parts_.options.spare_places);
}

policy::RebalanceTerms Coordinator::terms() const {
  double stall_s = 0, staged_bytes = 0;
  for (const RankFigures& figures : last_.figures) {
    staged_bytes += static_cast<double>(figures.staged_bytes);
    stall_s = std::max(stall_s, figures.largest_stall_s);
  }
  const double seconds_per_byte = staged_bytes > 0 ? copying_s() / staged_bytes : 1 / first_guess_bytes_per_s;
  const Pace pace = last_pace();
  const auto ranks_and_layers = static_cast<double>(exchanges_.size() * parts_.expert_ranks.size());
  return {.busy_share = std::min(pace.busiest_s() / pace.length_s, 1.0),
          .horizon_s = parts_.options.horizon_s,
          .move_cost_s = parts_.copy_s > 0 ? parts_.copy_s : seconds_per_byte * static_cast<double>(parts_.expert_bytes),
          .change_cost_s = stall_s,
          .least_share = policy::least_share(static_cast<double>(windows_.back().num_rows) / ranks_and_layers)};
}

void Coordinator::decide(double now) {
  const policy::RebalancePlan plan = policy::choose_exchanges(exchanges_, book_, terms());
  state_ = State::waiting;
  if (plan.moves.empty()) return;
  before_last_change_ = last_pace();
  after_last_change_ = {};
  copied_before_s_ = copying_s();
  announce(plan.moves, now);
  pending_.predicted_s = plan.gain_s;
  pending_.cost_s = plan.cost_s;
}

void Coordinator::announce(std::span<const policy::ExpertMove> moves, double now) {
  MOEBIUS_EXPECT(moves.size() <= parts_.layout.max_moves);
  book_.begin(moves);
  const std::uint64_t num_moves = moves.size();
  std::byte* to = parts_.memory.own().data() + parts_.layout.moves;
  std::memcpy(to, &num_moves, sizeof(num_moves));
  std::memcpy(to + BoardLayout::line, moves.data(), moves.size_bytes());
  ++generation_;
  store_stage(Step::announced);
  pending_ = {.generation = static_cast<std::int32_t>(generation_),
              .num_moves = static_cast<std::int32_t>(num_moves),
              .bytes = static_cast<std::int64_t>(num_moves * parts_.expert_bytes)};
  moves_.insert(moves_.end(), moves.begin(), moves.end());
  announced_s_ = now;
  state_ = State::staging;
}

void Coordinator::store_stage(Step step) { parts_.memory.store_word(BoardLayout::stage, stage_word(generation_, step)); }

}  // namespace moebius::ranks
