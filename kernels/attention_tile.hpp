// SPDX-License-Identifier: Apache-2.0
#pragma once
// Attention of some tokens of a segment over the keys of one kv head, in three steps: all scores, softmax
// with the exact maximum, weighted sum of values. Keys and values of a kv block are panels, so both
// products are the tile of panel_tile.hpp. Values of blocks that every row sees whole are added for all rows
// together, a run of blocks in registers; those that are cut by somebody's position or window are added
// token by token with exactly the keys that the token sees, so that no unseen value reaches a product.
// Where the processor multiplies pairs of bf16, queries and probabilities are rounded to bf16.
// Internal linkage, only for tiles_*.cpp: see simd_vec.hpp.

#include <cstdint>

#include "kernels/gemm_tile.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/panel_tile.hpp"
#include "kernels/row_tile.hpp"
#include "kernels/simd_vec.hpp"

namespace moebius::kernels {
namespace {

/// A block of keys has as many positions as a panel has columns, and a piece is a whole number of blocks.
inline constexpr int block_positions = panel_width;
inline constexpr int blocks_per_piece = piece_steps / block_positions;

struct AttendRows {
  int first;
  int count;
};

/// Keys first..end-1 of one block.
struct BlockKeys {
  int block_idx;
  int first;
  int end;
};

/// The first position that a token of the task sees; the last one is its own.
MOEBIUS_INLINE int first_key(const AttendTask& task, int token) {
  const int first = task.first_position + token - task.window + 1;
  return first > 0 ? first : 0;
}

/// Where the score of (block, row) for the block's first position lies.
MOEBIUS_INLINE float* score_at(const AttendTask& task, int block_idx, int row) {
  const int num_rows = task.num_tokens * task.group;
  return task.scores + piece_offset(block_idx / blocks_per_piece, num_rows, row) +
         (block_idx % blocks_per_piece) * block_positions;
}

/// Floats that the probabilities of the positions of a block take, in the form in which the tile reads them.
template <class P>
inline constexpr int block_floats = block_positions / P::num_k * P::num_factors;

/// The same for probabilities, which overwrite the scores of their piece from the front.
template <class P>
MOEBIUS_INLINE float* probabilities_at(const AttendTask& task, int block_idx, int row) {
  const int first_of_piece = block_idx / blocks_per_piece * blocks_per_piece;
  return score_at(task, first_of_piece, row) + (block_idx - first_of_piece) * block_floats<P>;
}

MOEBIUS_INLINE std::int64_t value_width(const AttendTask& task) {
  return std::int64_t{(task.value_dim + panel_width - 1) / panel_width} * panel_width;
}

template <class N, class P>
void scale_queries(const AttendTask& task) {
  constexpr ComputeType type = P::num_k != P::num_factors ? ComputeType::bf16 : ComputeType::fp32;
  const int num_rows = task.num_tokens * task.group;
  const Vec<N> scale = set1<N>(task.scale);
  for (int row = 0; row < num_rows; ++row) {
    const float* q = task.q + (row / task.group) * task.q_stride + std::int64_t{row % task.group} * task.key_dim;
    for (std::int64_t d = 0; d < task.key_dim; d += vector_width) {
      const std::int64_t left = task.key_dim - d;
      const Vec<N> part = left >= vector_width ? load<N>(q + d) : load_first<N>(q + d, left, 0.0F);
      store_input<N>(type, task.scaled_q, num_rows, row, d, mul(part, scale));
    }
  }
}

MOEBIUS_INLINE int num_task_blocks(const AttendTask& task) {
  return (task.first_position + task.num_tokens + block_positions - 1) / block_positions;
}

/// What a task reads lies in blocks of memory, one `item` after the other: keys of each block, values of each block, keys of
/// the next task. Where an item begins, from the keys of block `item` on.
MOEBIUS_INLINE const std::byte* item_at(const AttendTask& task, int item) {
  const int num_blocks = num_task_blocks(task);
  if (item < num_blocks) return task.blocks[item] + task.key_offset;
  const int value_block = item - num_blocks + first_key(task, 0) / block_positions;
  if (value_block < num_blocks) return task.blocks[value_block] + task.value_offset;
  const int next = value_block - num_blocks;
  return next < task.num_next_blocks ? task.next_blocks[next] + task.next_key_offset : task.blocks[num_blocks - 1] + task.key_offset;
}

/// How many items ahead of their use keys and values are fetched where one tile takes all rows: it is through with a block
/// before the next could come from memory. As far as products with weights; twice as far was 15 % slower.
template <class N, class P>
int items_ahead(const AttendTask& task) {
  const std::int64_t block_bytes = num_steps<P>(task.key_dim) * step_bytes;
  const auto items = static_cast<int>(fetch_distance / block_bytes);
  return task.num_tokens * task.group <= N::max_rows && items > 1 ? items : 1;
}

/// Scores of all rows for all positions of a block, also of those that a row does not see: they are not read.
template <class N, class P>
void score_block(const AttendTask& task, int block_idx) {
  const int num_rows = task.num_tokens * task.group;
  const std::byte* const ahead = item_at(task, block_idx + items_ahead<N, P>(task));
  const std::int64_t all_steps = num_steps<P>(task.key_dim);
  std::int64_t piece = 0;
  for (std::int64_t step = 0; step < all_steps; step += piece_panel_steps<P>, ++piece) {
    const std::int64_t left = all_steps - step;
    const std::int64_t steps = left < piece_panel_steps<P> ? left : piece_panel_steps<P>;
    for_row_tiles<N>(num_rows, [&](int row, int count) {
      run_panels<N, P>(count, 1,
                       TileCall{.x = task.scaled_q + piece_offset(piece, num_rows, row),
                                .runs = task.blocks + block_idx,
                                .num_runs = 1,
                                .offset = task.key_offset + step * step_bytes,
                                .panel_bytes = 0,
                                .pair_bytes = 0,
                                .stride = step_bytes,
                                .steps = steps,
                                .c = score_at(task, block_idx, row),
                                .c_stride = piece_stride,
                                .start = piece == 0 ? Start::from_zero : Start::carry_on,
                                .ahead = &ahead,
                                .ahead_offset = step * step_bytes,
                                .ahead_step = step_bytes});
    });
  }
}

/// exp(score - shift) of sixteen positions as the tile reads them. Returns the numbers that are stored.
template <class N, class P>
MOEBIUS_INLINE Vec<N> store_probabilities(float* to, const Vec<N>& values) {
  if constexpr (P::num_k == P::num_factors) {
    store(to, values);
    return values;
  } else {
    auto* narrow = reinterpret_cast<std::uint16_t*>(to);
    N::narrow_normal_bf16(narrow, values.part[0]);  // exp gives no denormals
    return widen_vec<N>(narrow);
  }
}

/// Turns the scores of positions first..end-1 of a row into exp(score - max); returns their sum. The other
/// positions of a vector that holds one of these become zero.
template <class N, class P>
float exponentials(const AttendTask& task, int row, int first, int end) {
  const int first_block = first / block_positions;
  const float lowest = -__builtin_inff();
  for (int i = 0; i < first % block_positions; ++i) score_at(task, first_block, row)[i] = lowest;
  const auto for_vectors = [&](const auto& body) {
    for (int block = first_block; block * block_positions < end; ++block) {
      const float* scores = score_at(task, block, row);
      const int keys = end - block * block_positions;
      if (keys >= block_positions) {
        body(load<N>(scores), block, 0);
        body(load<N>(scores + vector_width), block, 1);
        continue;
      }
      for (int vec = 0; vec * vector_width < keys; ++vec) {
        body(load_first<N>(scores + vec * vector_width, keys - vec * vector_width, lowest), block, vec);
      }
    }
  };
  Vec<N> largest = set1<N>(lowest);
  for_vectors([&](const Vec<N>& scores, int, int) { largest = max(scores, largest); });
  const Vec<N> shift = set1<N>(max_of_lanes(largest));
  Vec<N> sum = set1<N>(0.0F);
  for_vectors([&](const Vec<N>& scores, int block, int vec) {
    float* to = probabilities_at<P>(task, block, row) + vec * (block_floats<P> / 2);
    sum = add(sum, store_probabilities<N, P>(to, exp(sub(scores, shift))));
  });
  return sum_of_lanes(sum);
}

/// Adds blocks begin..end-1, which all rows see whole, to the values of all rows.
template <class N, class P>
void add_whole_blocks(const AttendTask& task, int begin, int end) {
  const int num_rows = task.num_tokens * task.group;
  const int num_panels = static_cast<int>(value_width(task) / panel_width);
  constexpr std::int64_t steps = block_positions / P::num_k;
  // One tile of rows: panels side by side. Several: panel by panel, which then stays in the first-level cache.
  const int together = num_rows <= N::max_rows ? num_panels : 1;
  for (int block = begin; block < end;) {
    const int piece_end = (block / blocks_per_piece + 1) * blocks_per_piece;
    const int num_blocks = (piece_end < end ? piece_end : end) - block;
    // Of several tiles the last one of a piece is followed by the first one of the next piece.
    const int first_ahead = block + (num_rows <= N::max_rows ? items_ahead<N, P>(task) : num_blocks);
    const std::byte* ahead[blocks_per_piece];
    for (int i = 0; i < num_blocks; ++i) {
      ahead[i] = item_at(task, num_task_blocks(task) - first_key(task, 0) / block_positions + first_ahead + i);
    }
    for (int panel = 0; panel < num_panels; panel += together) {
      for_row_tiles<N>(num_rows, [&](int row, int count) {
        run_panels<N, P>(count, together,
                         TileCall{.x = probabilities_at<P>(task, block, row),
                                  .runs = task.blocks + block,
                                  .num_runs = num_blocks,
                                  .offset = task.value_offset + panel * steps * step_bytes,
                                  .panel_bytes = steps * step_bytes,
                                  .pair_bytes = 2 * steps * step_bytes,
                                  .stride = step_bytes,
                                  .steps = steps,
                                  .c = task.values + row * value_width(task) + panel * panel_width,
                                  .c_stride = value_width(task),
                                  .start = Start::carry_on,
                                  .ahead = ahead,
                                  .ahead_offset = panel * steps * step_bytes,
                                  .ahead_step = step_bytes});
      });
    }
    block += num_blocks;
  }
}

/// Adds steps begin..end-1 of one block to the values of some rows. `panels`: the value panels of the block.
template <class N, class P>
void add_steps(const AttendTask& task, int block_idx, AttendRows rows, int begin, int end) {
  if (begin >= end) return;
  constexpr std::int64_t steps = block_positions / P::num_k;
  for_row_tiles<N>(rows.count, [&](int row, int count) {
    run_panels<N, P>(count, static_cast<int>(value_width(task) / panel_width),
                     TileCall{.x = probabilities_at<P>(task, block_idx, rows.first + row) + begin * P::num_factors,
                              .runs = task.blocks + block_idx,
                              .num_runs = 1,
                              .offset = task.value_offset + begin * step_bytes,
                              .panel_bytes = steps * step_bytes,
                                  .pair_bytes = 2 * steps * step_bytes,
                                  .stride = step_bytes,
                              .steps = end - begin,
                              .c = task.values + (rows.first + row) * value_width(task),
                              .c_stride = value_width(task),
                              .start = Start::carry_on,
                              .ahead = task.blocks + block_idx,
                              .ahead_offset = task.value_offset,
                              .ahead_step = 0});
  });
}

/// Adds the half of a pair of positions that the rows see: `keep` masks the other half of each value word. The
/// probabilities of the other half are zero, but it may hold no number at all.
template <class N, class P>
void add_half_step(const AttendTask& task, int block_idx, AttendRows rows, int step, std::uint32_t keep) {
  constexpr int panels_at_once = 4;
  alignas(64) std::uint32_t masked[panels_at_once * panel_width];
  const auto* run = reinterpret_cast<const std::byte*>(masked);
  const int num_panels = static_cast<int>(value_width(task) / panel_width);
  for (int panel = 0; panel < num_panels; panel += panels_at_once) {
    const int count_panels = num_panels - panel < panels_at_once ? num_panels - panel : panels_at_once;
    for (int i = 0; i < count_panels; ++i) {
      const std::byte* from = task.blocks[block_idx] + task.value_offset +
                              ((panel + i) * std::int64_t{block_positions / P::num_k} + step) * step_bytes;
      __builtin_memcpy(masked + i * panel_width, from, step_bytes);
    }
    for (int i = 0; i < count_panels * panel_width; ++i) masked[i] &= keep;
    for_row_tiles<N>(rows.count, [&](int row, int count) {
      run_panels<N, P>(count, count_panels,
                       TileCall{.x = probabilities_at<P>(task, block_idx, rows.first + row) + step * P::num_factors,
                                .runs = &run,
                                .num_runs = 1,
                                .offset = 0,
                                .panel_bytes = step_bytes,
                                .pair_bytes = 2 * step_bytes,
                                .stride = step_bytes,
                                .steps = 1,
                                .c = task.values + (rows.first + row) * value_width(task) + panel * panel_width,
                                .c_stride = value_width(task),
                                .start = Start::carry_on,
                                .ahead = &run,
                                .ahead_offset = 0,
                                .ahead_step = 0});
    });
  }
}

/// Adds keys.first..keys.end-1 of a block to the values of the rows.
template <class N, class P>
void add_cut_block(const AttendTask& task, BlockKeys keys, AttendRows rows) {
  if constexpr (P::num_k == 1) {
    add_steps<N, P>(task, keys.block_idx, rows, keys.first, keys.end);
  } else {
    if (keys.first % 2 != 0) add_half_step<N, P>(task, keys.block_idx, rows, keys.first / 2, 0xffff0000U);
    add_steps<N, P>(task, keys.block_idx, rows, (keys.first + 1) / 2, keys.end / 2);
    if (keys.end % 2 != 0) add_half_step<N, P>(task, keys.block_idx, rows, keys.end / 2, 0x0000ffffU);
  }
}

template <class N>
void write_outputs(const AttendTask& task) {
  for (int row = 0; row < task.num_tokens * task.group; ++row) {
    float* out = task.out + (row / task.group) * task.out_stride + std::int64_t{row % task.group} * task.value_dim;
    const Vec<N> sum = set1<N>(task.sums[row]);
    map_row<N>(task.value_dim, out, [&](const Vec<N>& value) { return div(value, sum); },
               static_cast<const float*>(task.values + row * value_width(task)));
  }
}

/// For each row in ascending order of positions: cut(keys, rows) for what lies before the blocks that all rows
/// see whole, then whole(begin, end) for these, then cut(keys, rows) for each token's others.
template <class Whole, class Cut>
MOEBIUS_INLINE void for_visible_blocks(const AttendTask& task, const Whole& whole, const Cut& cut) {
  const int last_front = first_key(task, task.num_tokens - 1);
  const int shared_end = (task.first_position + 1) / block_positions;
  const int first_whole = (last_front + block_positions - 1) / block_positions;
  const int shared_begin = first_whole < shared_end ? first_whole : shared_end;
  const auto cut_of_token = [&](int token, int begin, int end) {
    for (int block = begin / block_positions; block * block_positions < end; ++block) {
      const int start = block * block_positions;
      cut(BlockKeys{block, begin > start ? begin - start : 0, end - start < block_positions ? end - start : block_positions},
          AttendRows{token * task.group, task.group});
    }
  };
  for (int token = 0; token < task.num_tokens; ++token) {
    cut_of_token(token, first_key(task, token), shared_begin * block_positions);
  }
  whole(shared_begin, shared_end);
  for (int token = 0; token < task.num_tokens; ++token) {
    const int begin = first_key(task, token);
    const int end_of_shared = shared_end * block_positions;
    cut_of_token(token, begin > end_of_shared ? begin : end_of_shared, task.first_position + token + 1);
  }
}

template <class N, class P>
void attend_panels(const AttendTask& task) {
  scale_queries<N, P>(task);
  const int num_rows = task.num_tokens * task.group;
  for (int block = first_key(task, 0) / block_positions; block < num_task_blocks(task); ++block) score_block<N, P>(task, block);
  for (int row = 0; row < num_rows; ++row) {
    const int token = row / task.group;
    task.sums[row] = exponentials<N, P>(task, row, first_key(task, token), task.first_position + token + 1);
  }
  const std::int64_t num_values = num_rows * value_width(task);
  for (std::int64_t i = 0; i < num_values; ++i) task.values[i] = 0.0F;
  for_visible_blocks(task, [&](int begin, int block_end) { add_whole_blocks<N, P>(task, begin, block_end); },
                     [&](BlockKeys keys, AttendRows rows) { add_cut_block<N, P>(task, keys, rows); });
  write_outputs<N>(task);
}

template <class N>
void attend(const AttendTask& task) {
  if (task.type == ComputeType::bf16) {
    attend_panels<N, decltype(bf16_panel<N>())>(task);
  } else {
    attend_panels<N, Fp32Panel>(task);
  }
}

}  // namespace
}  // namespace moebius::kernels
