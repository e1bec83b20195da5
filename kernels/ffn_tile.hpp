// SPDX-License-Identifier: Apache-2.0
#pragma once
// The first half of a gated feed-forward network: gate_proj and up_proj of some rows for one panel of
// columns after the other, and silu(gate) * up while both are still in the first-level cache. The result is
// written as the pieces that down_proj reads, so it is neither kept in fp32 nor copied.
// Internal linkage, only for tiles_*.cpp: see simd_vec.hpp.

#include <cstddef>
#include <cstdint>

#include "kernels/gemm_tile.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/row_tile.hpp"
#include "kernels/simd_vec.hpp"

namespace moebius::kernels {
namespace {

/// gate / (1 + exp(-gate)) * up
template <class N>
MOEBIUS_INLINE Vec<N> silu_mul(const Vec<N>& gate, const Vec<N>& up) {
  const Vec<N> one = set1<N>(1.0F);
  return mul(div(gate, add(one, exp(sub(set1<N>(0.0F), gate)))), up);
}

/// Columns beyond the width have weights of zero and become zero. Few rows take several panels of each matrix
/// at a time: longer runs of memory.
template <class N>
void gated_strip(const GatedStrip& strip) {
  alignas(64) float gate[max_strip_rows * 2 * panel_width];
  alignas(64) float up[max_strip_rows * 2 * panel_width];
  const int most = strip.num_rows <= max_strip_rows / 2 ? 4 : 2;
  for (int panel = strip.first_panel; panel < strip.end_panel; panel += most) {
    const int panels = strip.end_panel - panel < most ? strip.end_panel - panel : most;
    const std::int64_t columns = std::int64_t{panels} * panel_width;
    const auto multiply = [&](const std::byte* w, float* y) {
      gemm_strip<N>(GemmStrip{.type = strip.type,
                              .w = w + panel * strip.panel_bytes,
                              .num_in = strip.num_in,
                              .num_columns = panels * panel_width,
                              .x = strip.x,
                              .num_rows = strip.num_rows,
                              .y = y,
                              .y_stride = columns});
    };
    multiply(strip.gate, gate);
    multiply(strip.up, up);
    for (std::int64_t row = 0; row < strip.num_rows; ++row) {
      for (std::int64_t i = 0; i < columns; i += vector_width) {
        const std::int64_t at = row * columns + i;
        store_input<N>(strip.type, strip.product, strip.num_rows, row, panel * panel_width + i,
                       silu_mul(load<N>(gate + at), load<N>(up + at)));
      }
    }
  }
}

}  // namespace
}  // namespace moebius::kernels
