// SPDX-License-Identifier: Apache-2.0
#pragma once
// Attention of some tokens of a segment over the keys of one kv head, in three steps: all scores, softmax
// with the exact maximum, weighted sum of values. Keys and values of a kv block are panels, so both
// products are the tile of gemm_tile.hpp. The blocks that every row sees whole are done for all rows
// together; those that are cut by somebody's position or window are done token by token with exactly the
// keys that the token sees, so that nothing is ever masked by a multiplication with zero.
// Internal linkage, only for tiles_*.cpp: see simd_vec.hpp.

#include <cstdint>

#include "kernels/gemm_tile.hpp"
#include "kernels/kernel_table.hpp"
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

template <class P>
MOEBIUS_INLINE const typename P::Element* panel_at(const AttendTask& task, int block_idx, std::size_t offset) {
  return static_cast<const typename P::Element*>(static_cast<const void*>(task.blocks[block_idx] + offset));
}

template <class N>
void scale_queries(const AttendTask& task) {
  const int num_rows = task.num_tokens * task.group;
  for (int row = 0; row < num_rows; ++row) {
    const float* q = task.q + (row / task.group) * task.q_stride + std::int64_t{row % task.group} * task.key_dim;
    for (int d = 0; d < task.key_dim; ++d) {
      task.scaled_q[piece_offset(d / piece_steps, num_rows, row) + d % piece_steps] = q[d] * task.scale;
    }
  }
}

/// Scores of all 32 positions of a block, also of those that the rows do not see: they are not read later.
template <class N, class P>
void score_block(const AttendTask& task, int block_idx, AttendRows rows) {
  const int num_rows = task.num_tokens * task.group;
  for (std::int64_t piece = 0; piece < num_pieces(task.key_dim); ++piece) {
    const std::int64_t d = piece * piece_steps;
    const std::int64_t left = task.key_dim - d;
    for_row_tiles<N>(rows.count, [&](int row, int count) {
      run_panels<N, P>(count, 1,
                       TileCall<P>{.x = task.scaled_q + piece_offset(piece, num_rows, rows.first + row),
                                   .w = panel_at<P>(task, block_idx, task.key_offset) + d * P::step,
                                   .panel_stride = 0,
                                   .steps = left < piece_steps ? left : piece_steps,
                                   .c = score_at(task, block_idx, rows.first + row),
                                   .c_stride = piece_stride,
                                   .start = piece == 0 ? Start::from_zero : Start::carry_on,
                                   .ahead = task.blocks[block_idx],
                                   .ahead_step = 0});
    });
  }
}

/// Adds keys.first..keys.end-1 of a block to the values of the rows.
template <class N, class P>
void add_values(const AttendTask& task, BlockKeys keys, AttendRows rows) {
  const int num_panels = (task.value_dim + panel_width - 1) / panel_width;
  const std::int64_t width = std::int64_t{num_panels} * panel_width;
  for_row_tiles<N>(rows.count, [&](int row, int count) {
    run_panels<N, P>(count, num_panels,
                     TileCall<P>{.x = score_at(task, keys.block_idx, rows.first + row) + keys.first,
                                 .w = panel_at<P>(task, keys.block_idx, task.value_offset) + keys.first * P::step,
                                 .panel_stride = block_positions * P::step,
                                 .steps = keys.end - keys.first,
                                 .c = task.values + (rows.first + row) * width,
                                 .c_stride = width,
                                 .start = Start::carry_on,
                                 .ahead = task.blocks[keys.block_idx],
                                 .ahead_step = 0});
  });
}

/// Turns the scores of positions first..end-1 of a row into exp(score - max); returns their sum.
template <class N>
float exponentials(const AttendTask& task, int row, int first, int end) {
  const int first_block = first / block_positions;
  const int num_blocks = (end + block_positions - 1) / block_positions;
  const float lowest = -__builtin_inff();
  // What the window hides at the front of the first block adds exp(-infinity) = 0 to its lanes.
  for (int i = 0; i < first % block_positions; ++i) score_at(task, first_block, row)[i] = lowest;
  Vec<N> largest = set1<N>(lowest);
  const auto for_vectors = [&](const auto& whole, const auto& part) {
    for (int block = first_block; block < num_blocks; ++block) {
      float* scores = score_at(task, block, row);
      const int keys = end - block * block_positions;
      for (int i = 0; i < block_positions; i += vector_width) {
        if (keys - i >= vector_width) {
          whole(scores + i);
        } else if (keys - i > 0) {
          part(scores + i, keys - i);
        }
      }
    }
  };
  for_vectors([&](const float* s) { largest = max(load<N>(s), largest); },
              [&](const float* s, int n) { largest = max(load_first<N>(s, n, lowest), largest); });
  const Vec<N> shift = set1<N>(max_of_lanes(largest));
  Vec<N> sum = set1<N>(0.0F);
  for_vectors(
      [&](float* s) {
        const Vec<N> e = exp(sub(load<N>(s), shift));
        sum = add(sum, e);
        store(s, e);
      },
      [&](float* s, int n) {
        const Vec<N> e = exp(sub(load_first<N>(s, n, lowest), shift));
        sum = add(sum, e);
        store_first(s, n, e);
      });
  return sum_of_lanes(sum);
}

template <class N>
void write_outputs(const AttendTask& task) {
  const std::int64_t width = std::int64_t{(task.value_dim + panel_width - 1) / panel_width} * panel_width;
  for (int row = 0; row < task.num_tokens * task.group; ++row) {
    const float* values = task.values + row * width;
    float* out = task.out + (row / task.group) * task.out_stride + std::int64_t{row % task.group} * task.value_dim;
    for (int d = 0; d < task.value_dim; ++d) out[d] = values[d] / task.sums[row];
  }
}

/// visit(keys, rows), for each row in ascending order of positions: first what lies before the blocks that all
/// rows see whole, then these, then each token's others.
template <class Visit>
MOEBIUS_INLINE void for_visible_blocks(const AttendTask& task, const Visit& visit) {
  const int last_front = first_key(task, task.num_tokens - 1);
  const int shared_end = (task.first_position + 1) / block_positions;
  const int first_whole = (last_front + block_positions - 1) / block_positions;
  const int shared_begin = first_whole < shared_end ? first_whole : shared_end;
  const auto visit_of_token = [&](int token, int begin, int end) {
    for (int block = begin / block_positions; block * block_positions < end; ++block) {
      const int start = block * block_positions;
      visit(BlockKeys{block, begin > start ? begin - start : 0, end - start < block_positions ? end - start : block_positions},
            AttendRows{token * task.group, task.group});
    }
  };
  for (int token = 0; token < task.num_tokens; ++token) {
    visit_of_token(token, first_key(task, token), shared_begin * block_positions);
  }
  for (int block = shared_begin; block < shared_end; ++block) {
    visit(BlockKeys{block, 0, block_positions}, AttendRows{0, task.num_tokens * task.group});
  }
  for (int token = 0; token < task.num_tokens; ++token) {
    const int begin = first_key(task, token);
    const int end_of_shared = shared_end * block_positions;
    visit_of_token(token, begin > end_of_shared ? begin : end_of_shared, task.first_position + token + 1);
  }
}

template <class N, class P>
void attend_panels(const AttendTask& task) {
  scale_queries<N>(task);
  for_visible_blocks(task, [&](BlockKeys keys, AttendRows rows) { score_block<N, P>(task, keys.block_idx, rows); });
  const int num_rows = task.num_tokens * task.group;
  for (int row = 0; row < num_rows; ++row) {
    const int token = row / task.group;
    task.sums[row] = exponentials<N>(task, row, first_key(task, token), task.first_position + token + 1);
  }
  const std::int64_t num_values = std::int64_t{num_rows} * ((task.value_dim + panel_width - 1) / panel_width) * panel_width;
  for (std::int64_t i = 0; i < num_values; ++i) task.values[i] = 0.0F;
  for_visible_blocks(task, [&](BlockKeys keys, AttendRows rows) { add_values<N, P>(task, keys, rows); });
  write_outputs<N>(task);
}

template <class N>
void attend(const AttendTask& task) {
  if (task.type == ComputeType::bf16) {
    attend_panels<N, Bf16Panel>(task);
  } else {
    attend_panels<N, Fp32Panel>(task);
  }
}

}  // namespace
}  // namespace moebius::kernels
