// SPDX-License-Identifier: Apache-2.0
#pragma once
// The order of numbers that the tiles read: panels [k][32 columns]. Weights (columns = outputs), keys
// (columns = positions, k = head_dim) and values (columns = head_dim, k = positions) are all panels.
// In fp32 column c is element c of its step. In bf16 the columns c and c + 16 are the low and the high
// half of 32-bit word c (little endian), so that one load and one shift or mask give sixteen floats.
// Internal to kernels.

#include <cstdint>

#include "base/model_config.hpp"

namespace moebius::kernels {

inline constexpr int panel_width = 32;
inline constexpr int vector_width = 16;

/// Where a column lies inside its step, in elements.
constexpr int panel_element(ComputeType type, int column) {
  return type == ComputeType::bf16 ? (column % vector_width) * 2 + column / vector_width : column;
}

/// Rows of x are handed to the tiles as float in pieces of 256 steps over k, [piece][row][272]: a fixed
/// distance between rows needs no address registers, and 272 floats (17 cache lines) spread the rows
/// over the sets of the first-level cache. 32 KiB of fp32 panel per piece fit there as well.
inline constexpr int piece_steps = 256;
inline constexpr int piece_stride = 272;

constexpr std::int64_t num_pieces(std::int64_t steps) { return (steps + piece_steps - 1) / piece_steps; }

/// The first float of a piece.
constexpr std::int64_t piece_offset(std::int64_t piece_idx, std::int64_t num_rows, std::int64_t row) {
  return (piece_idx * num_rows + row) * piece_stride;
}

}  // namespace moebius::kernels
