// SPDX-License-Identifier: Apache-2.0
#pragma once
// The order of numbers that the tiles read: panels [k][32 columns]. Weights (columns = outputs), keys
// (columns = positions, k = head_dim) and values (columns = head_dim, k = positions) are all panels.
// Two panels of a weight matrix interleave step by step, [k][2][32 columns], so that a tile of both reads one stream; a
// last panel without a neighbour is alone. Panels of keys and values are all alone.
// In fp32 column c is element c of its step. In bf16 panels are of pairs, [k / 2][32 columns][2], an odd k
// padded: what a dot product of bf16 takes, and where there is none, one load and one shift or mask give
// sixteen floats of one k.
// Internal to kernels.

#include <cstdint>

#include "base/model_config.hpp"

namespace moebius::kernels {

inline constexpr int panel_width = 32;
inline constexpr int vector_width = 16;

/// Where element (k, column) of a bf16 panel that is alone lies.
constexpr std::int64_t pair_element(std::int64_t k, int column) {
  return k / 2 * (2 * panel_width) + column * 2 + k % 2;
}

/// Rows of x are handed to the tiles in pieces of 256 floats, [piece][row][272]: a fixed distance between
/// rows needs no address registers, and 272 floats (17 cache lines) spread the rows over the sets of the
/// first-level cache. The 32 KiB of panel that meet a piece fit there as well. A float is one k, or the
/// bits of a pair of bf16 where the processor multiplies pairs.
inline constexpr int piece_steps = 256;
inline constexpr int piece_stride = 272;

constexpr std::int64_t num_pieces(std::int64_t steps) { return (steps + piece_steps - 1) / piece_steps; }

/// The first float of a piece.
constexpr std::int64_t piece_offset(std::int64_t piece_idx, std::int64_t num_rows, std::int64_t row) {
  return (piece_idx * num_rows + row) * piece_stride;
}

}  // namespace moebius::kernels
