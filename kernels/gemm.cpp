// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.hpp"

#include <algorithm>
#include <cstring>

#include "base/bf16.hpp"
#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/panel.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

namespace {

int num_panels(int num_out) { return (num_out + panel_width - 1) / panel_width; }

std::size_t panel_bytes(ComputeType type, int num_in) {
  return element_bytes(type) * panel_width * static_cast<std::size_t>(num_in);
}

/// One panel from up to 32 rows of w. // w: [num_columns, num_in]
void pack_panel(ComputeType type, const float* w, int num_columns, int num_in, std::byte* panel) {
  std::memset(panel, 0, panel_bytes(type, num_in));
  for (int column = 0; column < num_columns; ++column) {
    const float* row = w + std::int64_t{column} * num_in;
    const int element = panel_element(type, column);
    if (type == ComputeType::bf16) {
      auto* to = reinterpret_cast<std::uint16_t*>(panel) + element;
      for (int k = 0; k < num_in; ++k) to[std::int64_t{k} * panel_width] = to_bf16(row[k]).bits;
    } else {
      auto* to = reinterpret_cast<float*>(panel) + element;
      for (int k = 0; k < num_in; ++k) to[std::int64_t{k} * panel_width] = row[k];
    }
  }
}

/// Rows of x as float, cut into pieces: [pieces, num_rows, piece_stride].
void cut_rows(const KernelTable& kernels, RowsView x, int first_row, int num_rows, int num_in, float* pieces) {
  Kokkos::parallel_for("gemm rows", HostRange(0, num_rows), [=, &kernels](const int row) {
    const std::int64_t begin = (first_row + row) * x.row_stride;
    for (std::int64_t k = 0; k < num_in; k += piece_steps) {
      const std::int64_t steps = std::min<std::int64_t>(piece_steps, num_in - k);
      float* to = pieces + piece_offset(k / piece_steps, num_rows, row);
      if (x.type == ComputeType::bf16) {
        kernels.widen_row(reinterpret_cast<const std::uint16_t*>(x.data) + begin + k, steps, to);
      } else {
        std::memcpy(to, reinterpret_cast<const float*>(x.data) + begin + k,
                    static_cast<std::size_t>(steps) * sizeof(float));
      }
    }
  });
}

}  // namespace

PackedMatrix PackedMatrix::pack(ComputeType type, std::span<const float> w, int num_out, int num_in) {
  MOEBIUS_EXPECT(num_out > 0 && num_in > 0);
  MOEBIUS_EXPECT(w.size() == static_cast<std::size_t>(num_out) * static_cast<std::size_t>(num_in));
  PackedMatrix packed;
  packed.type_ = type;
  packed.num_out_ = num_out;
  packed.num_in_ = num_in;
  const std::size_t bytes = panel_bytes(type, num_in);
  packed.storage_ = Storage(Kokkos::view_alloc(Kokkos::WithoutInitializing, "packed matrix"),
                            bytes * static_cast<std::size_t>(num_panels(num_out)));
  std::byte* storage = packed.storage_.data();
  Kokkos::parallel_for("pack", HostRange(0, num_panels(num_out)), [=](const int panel) {
    const int column = panel * panel_width;
    pack_panel(type, w.data() + std::int64_t{column} * num_in, std::min(panel_width, num_out - column), num_in,
               storage + bytes * static_cast<std::size_t>(panel));
  });
  return packed;
}

const std::byte* PackedMatrix::panel(int panel_idx) const {
  return storage_.data() + panel_bytes(type_, num_in_) * static_cast<std::size_t>(panel_idx);
}

void gemm(const PackedMatrix& w, RowsView x, int num_rows, float* y, std::int64_t y_stride) {
  if (num_rows == 0) return;
  MOEBIUS_EXPECT(num_rows > 0 && w.num_out() > 0);
  MOEBIUS_EXPECT(x.type == w.type());
  MOEBIUS_EXPECT(num_rows == 1 || (x.row_stride >= w.num_in() && y_stride >= w.num_out()));
  thread_local Workspace workspace;
  const KernelTable& kernels = active_kernels();
  const int num_blocks = (num_rows + max_strip_rows - 1) / max_strip_rows;
  const int num_strips = (w.num_out() + max_strip_columns - 1) / max_strip_columns;
  int first_row = 0;
  for (int block = 0; block < num_blocks; ++block) {
    const int rows = (num_rows - first_row) / (num_blocks - block);
    float* pieces = workspace.floats(static_cast<std::size_t>(piece_offset(num_pieces(w.num_in()), rows, 0)));
    cut_rows(kernels, x, first_row, rows, w.num_in(), pieces);
    float* y_block = y + first_row * y_stride;
    Kokkos::parallel_for("gemm", HostRange(0, num_strips), [=, &kernels, &w](const int strip) {
      const int column = strip * max_strip_columns;
      kernels.gemm_strip(GemmStrip{.type = w.type(),
                                   .w = w.panel(column / panel_width),
                                   .num_in = w.num_in(),
                                   .num_columns = std::min(max_strip_columns, w.num_out() - column),
                                   .x = pieces,
                                   .num_rows = rows,
                                   .y = y_block + column,
                                   .y_stride = y_stride});
    });
    first_row += rows;
  }
}

}  // namespace moebius::kernels
