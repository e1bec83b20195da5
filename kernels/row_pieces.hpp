// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows of x in the form in which the tiles take them (panel.hpp), and their product with packed weights.
// What gemm and expert_ffn are made of. Internal to kernels.

#include <cstddef>
#include <cstdint>

#include "kernels/gemm.hpp"
#include "kernels/kernel_table.hpp"

namespace moebius::kernels {

/// Floats of [pieces, num_rows, piece_stride] for rows of `width` values.
std::size_t pieces_size(const KernelTable& kernels, ComputeType type, int num_rows, int width);

/// pieces = rows first_row, first_row + 1, ... of x. // [pieces, num_rows, piece_stride]
void cut_rows(const KernelTable& kernels, RowsView x, int first_row, int num_rows, int width, float* pieces);

/// y = the rows in `pieces` times w. num_rows <= max_strip_rows. // y: [num_rows, num_out]
void multiply_pieces(const KernelTable& kernels, const PackedMatrix& w, const float* pieces, int num_rows, RowsOut y);

/// body(first_row, rows) for blocks of nearly equal height, at most max_strip_rows, that cover num_rows.
template <class Body>
void for_row_blocks(int num_rows, const Body& body) {
  const int num_blocks = (num_rows + max_strip_rows - 1) / max_strip_rows;
  int first_row = 0;
  for (int block = 0; block < num_blocks; ++block) {
    const int rows = (num_rows - first_row) / (num_blocks - block);
    body(first_row, rows);
    first_row += rows;
  }
}

}  // namespace moebius::kernels
