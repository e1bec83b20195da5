// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.hpp"

#include <algorithm>
#include <cstring>

#include "base/bf16.hpp"
#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/panel.hpp"
#include "kernels/row_pieces.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

namespace {

static_assert(pack_group_rows == panel_width);

int num_panels(int num_out) { return (num_out + panel_width - 1) / panel_width; }

std::size_t panel_bytes(ComputeType type, int num_in) {
  const int padded = type == ComputeType::bf16 ? num_in + num_in % 2 : num_in;
  return element_bytes(type) * panel_width * static_cast<std::size_t>(padded);
}

/// Where a panel of a matrix begins, and how its steps follow.
struct PanelPlace {
  std::size_t offset;
  std::int64_t stride;  ///< words from step to step
};

PanelPlace panel_place(ComputeType type, int num_out, int num_in, int panel_idx) {
  const std::size_t bytes = panel_bytes(type, num_in);
  const int first = panel_idx / 2 * 2;
  if (first + 1 == num_panels(num_out)) return {bytes * static_cast<std::size_t>(first), panel_width};
  return {bytes * static_cast<std::size_t>(first) + static_cast<std::size_t>(panel_idx % 2) * panel_width * sizeof(float), 2 * panel_width};
}

/// One panel from up to 32 rows of w. // w: [num_columns, num_in]
void pack_panel(ComputeType type, const float* w, int num_columns, int num_in, std::int64_t stride, std::byte* panel) {
  const std::int64_t num_steps = static_cast<std::int64_t>(panel_bytes(type, num_in) / (panel_width * sizeof(float)));
  for (std::int64_t step = 0; step < num_steps; ++step) {
    std::memset(panel + step * stride * static_cast<std::int64_t>(sizeof(float)), 0, panel_width * sizeof(float));
  }
  for (int column = 0; column < num_columns; ++column) {
    const float* row = w + std::int64_t{column} * num_in;
    if (type == ComputeType::bf16) {
      auto* to = reinterpret_cast<std::uint16_t*>(panel) + column * 2;
      for (int k = 0; k < num_in; ++k) to[k / 2 * (2 * stride) + k % 2] = to_bf16(row[k]).bits;
    } else {
      auto* to = reinterpret_cast<float*>(panel) + column;
      for (int k = 0; k < num_in; ++k) to[k * stride] = row[k];
    }
  }
}

}  // namespace

std::size_t packed_bytes(ComputeType type, int num_out, int num_in) {
  return panel_bytes(type, num_in) * static_cast<std::size_t>(num_panels(num_out));
}

void pack_rows(ComputeType type, int num_out, int num_in, int first_row, std::span<const float> rows,
               std::span<std::byte> memory) {
  MOEBIUS_EXPECT(num_in > 0 && first_row >= 0 && first_row % pack_group_rows == 0);
  const auto num_rows = static_cast<int>(rows.size() / static_cast<std::size_t>(num_in));
  MOEBIUS_EXPECT(rows.size() % static_cast<std::size_t>(num_in) == 0 && num_rows <= num_out - first_row);
  MOEBIUS_EXPECT(num_rows % pack_group_rows == 0 || first_row + num_rows == num_out);
  MOEBIUS_EXPECT(memory.size() == packed_bytes(type, num_out, num_in));
  MOEBIUS_EXPECT(reinterpret_cast<std::uintptr_t>(memory.data()) % packed_alignment == 0);
  std::byte* to = memory.data();
  Kokkos::parallel_for("pack", HostRange(0, num_panels(num_rows)), [=](const int panel) {
    const int column = panel * panel_width;
    const PanelPlace place = panel_place(type, num_out, num_in, first_row / panel_width + panel);
    pack_panel(type, rows.data() + std::int64_t{column} * num_in, std::min(panel_width, num_rows - column), num_in, place.stride,
               to + place.offset);
  });
}

PackedMatrix::PackedMatrix(ComputeType type, int num_out, int num_in, std::span<const std::byte> memory)
    : type_(type), num_out_(num_out), num_in_(num_in), memory_(memory.data()) {
  MOEBIUS_EXPECT(num_out > 0 && num_in > 0);
  MOEBIUS_EXPECT(memory.size() == packed_bytes(type, num_out, num_in));
}

PackedMatrix PackedMatrix::pack(ComputeType type, std::span<const float> w, int num_out, int num_in,
                                std::span<std::byte> memory) {
  MOEBIUS_EXPECT(w.size() == static_cast<std::size_t>(num_out) * static_cast<std::size_t>(num_in));
  pack_rows(type, num_out, num_in, 0, w, memory);
  return {type, num_out, num_in, memory};
}

PackedMatrix PackedMatrix::outputs(int first_out, int num_out) const {
  constexpr int pair = 2 * pack_group_rows;
  MOEBIUS_EXPECT(first_out >= 0 && first_out % pair == 0 && num_out > 0 && num_out <= num_out_ - first_out);
  MOEBIUS_EXPECT(num_out % pair == 0 || first_out + num_out == num_out_);
  return {type_, num_out, num_in_, {panel(first_out / panel_width), packed_bytes(type_, num_out, num_in_)}};
}

const std::byte* PackedMatrix::panel(int panel_idx) const {
  MOEBIUS_EXPECT(panel_idx % 2 == 0);
  return memory_ + panel_bytes() * panel_idx;
}

std::int64_t PackedMatrix::panel_bytes() const { return static_cast<std::int64_t>(kernels::panel_bytes(type_, num_in_)); }

void unpack_row(const PackedMatrix& w, int row_idx, std::span<float> row) {
  MOEBIUS_EXPECT(row_idx >= 0 && row_idx < w.num_out() && row.size() == static_cast<std::size_t>(w.num_in()));
  const PanelPlace place = panel_place(w.type(), w.num_out(), w.num_in(), row_idx / panel_width);
  const std::byte* panel = w.panel(0) + place.offset;
  const auto column = static_cast<std::size_t>(row_idx % panel_width), stride = static_cast<std::size_t>(place.stride);
  for (std::size_t k = 0; k < row.size(); ++k) {
    if (w.type() == ComputeType::bf16) {
      row[k] = to_float(reinterpret_cast<const Bf16*>(panel)[k / 2 * (2 * stride) + column * 2 + k % 2]);
    } else {
      row[k] = reinterpret_cast<const float*>(panel)[k * stride + column];
    }
  }
}

void gemm(const PackedMatrix& w, RowsView x, int num_rows, float* y, std::int64_t y_stride) {
  if (num_rows == 0) return;
  MOEBIUS_EXPECT(num_rows > 0 && w.num_out() > 0);
  MOEBIUS_EXPECT(x.type == w.type());
  MOEBIUS_EXPECT(num_rows == 1 || (x.row_stride >= w.num_in() && y_stride >= w.num_out()));
  thread_local Workspace workspace;
  const KernelTable& kernels = active_kernels();
  for_row_blocks(num_rows, [&](int first_row, int rows) {
    float* pieces = workspace.floats(pieces_size(kernels, x.type, rows, w.num_in()));
    cut_rows(kernels, x, first_row, rows, w.num_in(), pieces);
    multiply_pieces(kernels, w, pieces, rows, RowsOut{.data = y + first_row * y_stride, .row_stride = y_stride});
  });
}

}  // namespace moebius::kernels
