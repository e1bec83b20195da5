// SPDX-License-Identifier: Apache-2.0
#pragma once
// Products with weights: which panels and which part of k meet which rows, so that weights come from memory
// once and are found in the first-level cache by all rows but the first ones.
// Internal linkage, only for tiles_*.cpp: see simd_vec.hpp.

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.hpp"
#include "kernels/panel_tile.hpp"

namespace moebius::kernels {
namespace {

/// How far ahead of its use a row tile that is alone fetches weights, in bytes: enough for the latency of
/// memory; measured best with 8 and 12 rows among 2, 4, 8 and 32 KiB.
inline constexpr std::int64_t fetch_distance = 8192;

/// Rows of x times `num_panels` whole panels into c. A row tile that is alone reads the weights as one stream and
/// fetches a little ahead of itself. Several row tiles read each piece in turn: each fetches its share of the
/// piece that follows in memory (of this panel or the next), otherwise the first of them would wait for memory.
/// Panels side by side are several streams, which the processor itself fetches ahead best.
template <class N, class P>
void multiply_panels(const GemmStrip& strip, const std::byte* w, int num_panels, float* c, std::int64_t c_stride) {
  const std::int64_t all_steps = num_steps<P>(strip.num_in);
  std::int64_t piece = 0;
  for (std::int64_t step = 0; step < all_steps; step += piece_panel_steps<P>, ++piece) {
    const std::int64_t left = all_steps - step;
    const std::int64_t steps = left < piece_panel_steps<P> ? left : piece_panel_steps<P>;
    const int num_tiles = num_row_tiles<N>(strip.num_rows);
    const std::int64_t ahead_step = step_bytes / num_tiles;
    std::int64_t ahead = num_tiles == 1 ? step * step_bytes + fetch_distance : (step + steps) * step_bytes;
    for_row_tiles<N>(strip.num_rows, [&](int row, int rows) {
      run_panels<N, P>(rows, num_panels,
                       TileCall{.x = strip.x + piece_offset(piece, strip.num_rows, row),
                                .runs = &w,
                                .num_runs = 1,
                                .offset = step * step_bytes,
                                .panel_bytes = all_steps * step_bytes,
                                .steps = steps,
                                .c = c + row * c_stride,
                                .c_stride = c_stride,
                                .start = piece == 0 ? Start::from_zero : Start::carry_on,
                                .ahead = num_panels == 1 ? &w : nullptr,
                                .ahead_offset = ahead,
                                .ahead_step = ahead_step});
      ahead += steps * ahead_step;
    });
  }
}

template <class N>
inline constexpr int most_rows_of_four_panels = N::num_accumulators / (8 * Vec<N>::parts);

template <class N, class P>
void multiply_strip(const GemmStrip& strip) {
  const auto* w = static_cast<const std::byte*>(strip.w);
  const std::int64_t panel_bytes = num_steps<P>(strip.num_in) * step_bytes;
  const int full_panels = strip.num_columns / panel_width;
  // Very few rows: panels side by side, for enough independent chains. Others: panel by panel, one stream, a piece
  // of which stays in the first-level cache while all rows pass.
  const int together = strip.num_rows <= most_rows_of_four_panels<N> ? full_panels : 1;
  // For panels that cannot be written where they belong: they are partly used, or their rows lie apart.
  const auto multiply_aside = [&](int panel, int num_panels, int num_columns) {
    alignas(64) float aside[max_strip_rows * panel_width];
    const std::int64_t width = std::int64_t{num_panels} * panel_width;
    if (strip.y_rows != nullptr) {
      // Rows that lie apart may stand in another core's cache: asked for now, they are here when they are written.
      for (int row = 0; row < strip.num_rows; ++row) {
        const auto* y = reinterpret_cast<const std::byte*>(strip.y_rows[row] + strip.y_column + panel * panel_width);
        for (std::int64_t at = 0; at < num_columns * static_cast<std::int64_t>(sizeof(float)); at += 64) __builtin_prefetch(y + at, 1);
      }
    }
    multiply_panels<N, P>(strip, w + panel * panel_bytes, num_panels, aside, width);
    for (int row = 0; row < strip.num_rows; ++row) {
      float* y = strip.y_rows != nullptr ? strip.y_rows[row] + strip.y_column : strip.y + row * strip.y_stride;
      __builtin_memcpy(y + panel * panel_width, aside + row * width, static_cast<std::size_t>(num_columns) * sizeof(float));
    }
  };
  for (int panel = 0; panel < full_panels; panel += together) {
    if (strip.y_rows != nullptr) {
      multiply_aside(panel, together, together * panel_width);
    } else {
      multiply_panels<N, P>(strip, w + panel * panel_bytes, together, strip.y + panel * panel_width, strip.y_stride);
    }
  }
  const int rest = strip.num_columns - full_panels * panel_width;
  if (rest != 0) multiply_aside(full_panels, 1, rest);
}

template <class N>
void gemm_strip(const GemmStrip& strip) {
  if (strip.type == ComputeType::bf16) {
    multiply_strip<N, decltype(bf16_panel<N>())>(strip);
  } else {
    multiply_strip<N, Fp32Panel>(strip);
  }
}

}  // namespace
}  // namespace moebius::kernels
