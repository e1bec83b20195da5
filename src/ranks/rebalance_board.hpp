// SPDX-License-Identifier: Apache-2.0
#pragma once
// What lies where in the memory that ranks read of each other while experts move (comm::PeerMemory). The same on all ranks.
//
//   line 0   stage         of the coordinator: 3 x generation + Step, never falls
//   line 1   acknowledged  newest generation whose weights are all here and whose moves are known
//   line 2   moved_on      newest generation for which nothing of an older one waits to be answered, or is sent any more
//   figures  of the rank's expert calls
//   rows     per [layer, expert], since the start of the run
//   moves    of the coordinator: their number, then the moves of the generation that is being made
//   parts    packed weights, from a page border on
// A word has a cache line of its own. A rank that has left has all ones in lines 1 and 2: it will never send again.

#include <cstddef>
#include <cstdint>
#include <limits>

#include "base/model_config.hpp"
#include "policy/placement_book.hpp"

namespace moebius::ranks {

/// Of a generation, as the coordinator goes on.
enum class Step : std::uint8_t {
  announced = 0,  ///< its moves can be read
  published = 1,  ///< its weights are in place: send by it
  ended = 2,      ///< nobody uses what it left
};
inline constexpr std::uint64_t num_steps = 3;
inline constexpr std::uint64_t stage_word(std::uint32_t generation, Step step) { return num_steps * generation + static_cast<std::uint64_t>(step); }
inline constexpr std::uint64_t has_left = std::numeric_limits<std::uint64_t>::max();

/// What an expert rank has done so far.
struct RankFigures {
  double expert_s = 0;        ///< in expert calls
  double staging_s = 0;       ///< copying weights of others
  double largest_stall_s = 0; ///< longest time that a turn of the loop spent on the placement
  std::int64_t rows = 0;
  std::int64_t staged_bytes = 0;
};

struct BoardLayout {
  static constexpr std::size_t line = 64, stage = 0, acknowledged = line, moved_on = 2 * line, figures = 3 * line;
  static constexpr std::size_t rows = figures + (sizeof(RankFigures) + line - 1) / line * line;
  static constexpr std::size_t page = 4096;

  BoardLayout(const ModelConfig& config, std::size_t num_expert_ranks, int num_spare)
      : num_counts(static_cast<std::size_t>(config.num_layers) * static_cast<std::size_t>(config.num_experts)),
        max_moves(num_expert_ranks * static_cast<std::size_t>(num_spare)),
        moves(rows + (num_counts * sizeof(std::int64_t) + line - 1) / line * line),
        parts((moves + line + max_moves * sizeof(policy::ExpertMove) + page - 1) / page * page) {}

  std::size_t num_counts, max_moves;
  std::size_t moves;  ///< a word with their number; the moves stand behind its line
  std::size_t parts;
};

}  // namespace moebius::ranks
