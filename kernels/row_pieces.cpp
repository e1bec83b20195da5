// SPDX-License-Identifier: Apache-2.0
#include "kernels/row_pieces.hpp"

#include <algorithm>
#include <cstring>

#include "kernels/panel.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

namespace {

/// Values of x that a piece of a row holds.
int piece_values(const KernelTable& kernels, ComputeType type) {
  return type == ComputeType::bf16 ? piece_steps * kernels.bf16_per_float : piece_steps;
}

void fetch_row(const std::byte* row, int bytes) {
  for (int at = 0; at < bytes; at += 64) __builtin_prefetch(row + at);
}

}  // namespace

std::size_t pieces_size(const KernelTable& kernels, ComputeType type, int num_rows, int width) {
  const int values = piece_values(kernels, type);
  return static_cast<std::size_t>(piece_offset((width + values - 1) / values, num_rows, 0));
}

void cut_rows(const KernelTable& kernels, RowsView x, int first_row, int num_rows, int width, float* pieces) {
  const std::int64_t values = piece_values(kernels, x.type);
  Kokkos::parallel_for("rows of x", HostRange(0, num_rows), [=, &kernels](const int row) {
    const std::byte* from = x.row(first_row + row);
    // Rows that lie apart: another core may have written them, and the processor cannot guess where the next one is.
    if (x.rows != nullptr && row + 1 < num_rows) fetch_row(x.row(first_row + row + 1), width * static_cast<int>(element_bytes(x.type)));
    for (std::int64_t k = 0; k < width; k += values) {
      const std::int64_t count = std::min<std::int64_t>(values, width - k);
      float* to = pieces + piece_offset(k / values, num_rows, row);
      if (x.type == ComputeType::bf16) {
        kernels.lay_bf16_row(reinterpret_cast<const std::uint16_t*>(from) + k, count, to);
      } else {
        std::memcpy(to, reinterpret_cast<const float*>(from) + k, static_cast<std::size_t>(count) * sizeof(float));
      }
    }
  });
}

void multiply_pieces(const KernelTable& kernels, const PackedMatrix& w, const float* pieces, int num_rows, RowsOut y) {
  const int num_strips = (w.num_out() + max_strip_columns - 1) / max_strip_columns;
  Kokkos::parallel_for("product", HostRange(0, num_strips), [=, &kernels, &w](const int strip) {
    const int column = strip * max_strip_columns;
    kernels.gemm_strip(GemmStrip{.type = w.type(),
                                 .w = w.panel(column / panel_width),
                                 .num_in = w.num_in(),
                                 .num_columns = std::min(max_strip_columns, w.num_out() - column),
                                 .x = pieces,
                                 .num_rows = num_rows,
                                 .y = y.rows == nullptr ? y.data + column : nullptr,
                                 .y_stride = y.row_stride,
                                 .y_rows = y.rows,
                                 .y_column = column});
  });
}

}  // namespace moebius::kernels
