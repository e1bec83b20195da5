// SPDX-License-Identifier: Apache-2.0
#include "ranks/live_placement.hpp"

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "base/clock.hpp"

namespace moebius::ranks {
namespace {

/// How often a rank looks whether there is something new: often against the milliseconds that staging takes, seldom
/// against a turn of the loop.
constexpr double look_interval_s = 0.5e-3;
/// Figures are published so many times in an interval.
constexpr double figures_per_interval = 16;
/// A turn copies an eighth of an expert at most. An expert call reads all of one, so a turn of copying is shorter than an
/// expert call of any number of rows.
constexpr std::size_t pieces_per_expert = 8;
constexpr std::size_t min_piece_bytes = 16 * 1024, max_piece_bytes = std::size_t{4} << 20;

std::size_t piece_bytes(std::size_t part_bytes) {
  const std::size_t eighth = (part_bytes / pieces_per_expert + BoardLayout::line - 1) / BoardLayout::line * BoardLayout::line;
  return std::clamp(eighth, min_piece_bytes, max_piece_bytes);
}

}  // namespace

LivePlacement::LivePlacement(Parts parts, policy::PlacementBook book)
    : parts_(std::move(parts)), book_(std::move(book)), self_(parts_.memory.rank()), coordinator_rank_(parts_.expert_ranks.front()),
      moves_bytes_(BoardLayout::line + parts_.layout.max_moves * sizeof(policy::ExpertMove)), rows_(parts_.layout.num_counts) {
  const auto found = std::ranges::find(parts_.expert_ranks, self_);
  if (parts_.stack != nullptr) expert_rank_idx_ = static_cast<std::int32_t>(found - parts_.expert_ranks.begin());
  MOEBIUS_EXPECT((parts_.stack != nullptr) == (found != parts_.expert_ranks.end()));
  std::memset(parts_.memory.own().data(), 0, parts_.layout.parts);
}

void LivePlacement::turn(double now) {
  const double begin_s = now_s();
  if (now >= next_look_s_) {
    next_look_s_ = now + look_interval_s;
    look();
    if (parts_.experts != nullptr && now >= next_figures_s_) publish_figures(now);
  }
  if (!staging_.empty()) {
    const double staging_begin_s = now_s();
    stage(now);
    if (parts_.copy_s == 0) counters_.staging_s += now_s() - staging_begin_s;
  }
  if (parts_.coordinator != nullptr) parts_.coordinator->turn(now);
  const double stall_s = now_s() - begin_s;
  counters_.total_s += stall_s;
  counters_.largest_stall_s = std::max(counters_.largest_stall_s, stall_s);
}

void LivePlacement::look() {
  if (reading_ != 0) {
    if (parts_.memory.finished(moves_read_)) take_moves();
    return;
  }
  if (!looking_) {
    look_read_ = parts_.memory.start_read(coordinator_rank_, BoardLayout::stage, std::as_writable_bytes(std::span(&stage_seen_, 1)));
    looking_ = true;
  }
  if (!parts_.memory.finished(look_read_)) return;
  looking_ = false;
  follow(stage_seen_);
}

void LivePlacement::follow(std::uint64_t stage) {
  const auto generation = static_cast<std::uint32_t>(stage / num_steps);
  const auto step = static_cast<Step>(stage % num_steps);
  if (generation > known_) {
    // The one before has ended, though this rank, which had no part in its last steps, may not have seen that.
    MOEBIUS_EXPECT(generation == known_ + 1 && staging_.empty());
    if (book_.is_changing()) end_change();
    reading_ = generation;
    read_moves();
    return;
  }
  if (generation == 0 || step == Step::announced) return;
  if (parts_.attention != nullptr) {
    if (parts_.attention->generations().current() < known_) send_by_new();
    if (told_moved_on_ < known_ && parts_.attention->generations().only_current()) {
      told_moved_on_ = known_;
      parts_.memory.store_word(BoardLayout::moved_on, told_moved_on_);
    }
  }
  if (step == Step::ended && book_.is_changing()) end_change();
}

void LivePlacement::read_moves() {
  moves_read_ = parts_.memory.start_read(coordinator_rank_, parts_.layout.moves, moves_bytes_);
  if (parts_.memory.finished(moves_read_)) take_moves();
}

void LivePlacement::take_moves() {
  std::uint64_t num_moves = 0;
  std::memcpy(&num_moves, moves_bytes_.data(), sizeof(num_moves));
  MOEBIUS_EXPECT(num_moves > 0 && num_moves <= parts_.layout.max_moves);
  moves_.resize(num_moves);
  std::memcpy(moves_.data(), moves_bytes_.data() + BoardLayout::line, num_moves * sizeof(policy::ExpertMove));
  known_ = reading_;
  reading_ = 0;
  book_.begin(moves_);
  for (const policy::ExpertMove& move : moves_) {
    if (move.to_rank == expert_rank_idx_) staging_.insert(staging_.begin(), {move, 0});
  }
  if (staging_.empty()) parts_.memory.store_word(BoardLayout::acknowledged, known_);
}

void LivePlacement::stage(double now) {
  double begin_s = now;
  if (copying_) {
    if (now < copied_s_ || !parts_.memory.finished(copy_read_)) return;
    copying_ = false;
    if (parts_.copy_s > 0) begin_s = copied_s_;  // when the next piece begins is not for this rank's turns to say
    counters_.bytes_staged += static_cast<std::int64_t>(copy_bytes_);
    Staging& one = staging_.back();
    one.num_copied += copy_bytes_;
    if (one.num_copied == parts_.stack->part(0).size()) {
      adopt(one.move);
      staging_.pop_back();
      if (staging_.empty()) {
        parts_.memory.store_word(BoardLayout::acknowledged, known_);
        return;
      }
    }
  }
  copy_next(begin_s);
}

void LivePlacement::copy_next(double begin_s) {
  const auto& [move, num_copied] = staging_.back();
  const std::size_t part_bytes = parts_.stack->part(0).size();
  copy_bytes_ = std::min(piece_bytes(part_bytes), part_bytes - num_copied);
  const double emulated_s = parts_.copy_s * static_cast<double>(copy_bytes_) / static_cast<double>(part_bytes);
  copied_s_ = begin_s + emulated_s;
  counters_.staging_s += emulated_s;
  const auto from_part = static_cast<std::size_t>(book_.part(move.layer, move.from_rank, move.from_place));
  copy_read_ = parts_.memory.start_read(parts_.expert_ranks[static_cast<std::size_t>(move.from_rank)],
                                        parts_.layout.parts + from_part * part_bytes + num_copied,
                                        parts_.stack->part(book_.part(move.layer, move.to_rank, move.to_place)).subspan(num_copied, copy_bytes_));
  copying_ = true;
}

void LivePlacement::adopt(const policy::ExpertMove& move) {
  parts_.stack->adopt(LayerId(move.layer), PlaceId(move.to_place), ExpertId(move.expert), book_.part(move.layer, move.to_rank, move.to_place), known_);
  ++counters_.experts_received;
}

void LivePlacement::send_by_new() {
  for (const policy::ExpertMove& move : moves_) parts_.placement->set_map(LayerId(move.layer), book_.map(move.layer));
  parts_.attention->begin_generation(known_);
}

void LivePlacement::end_change() {
  for (const policy::ExpertMove& move : moves_) {
    if (move.from_rank != expert_rank_idx_) continue;
    const LayerId layer(move.layer);
    MOEBIUS_EXPECT(parts_.experts->num_queued(move.layer, PlaceId(move.from_place)) == 0);
    parts_.stack->release(layer, PlaceId(move.from_place));
  }
  book_.end();
}

void LivePlacement::publish_figures(double now) {
  next_figures_s_ = now + parts_.interval_s / figures_per_interval;
  const RankFigures figures{.expert_s = parts_.experts->expert_seconds(),
                            .staging_s = counters_.staging_s,
                            .largest_stall_s = counters_.largest_stall_s,
                            .rows = parts_.experts->counters().rows_computed,
                            .staged_bytes = counters_.bytes_staged};
  std::byte* own = parts_.memory.own().data();
  std::memcpy(own + BoardLayout::figures, &figures, sizeof(figures));
  std::size_t next = BoardLayout::rows;
  for (const auto& layer : parts_.experts->load()) {
    std::memcpy(own + next, layer.data(), layer.size() * sizeof(std::int64_t));
    next += layer.size() * sizeof(std::int64_t);
  }
}

void LivePlacement::leave() {
  parts_.memory.store_word(BoardLayout::acknowledged, has_left);
  parts_.memory.store_word(BoardLayout::moved_on, has_left);
}

}  // namespace moebius::ranks
