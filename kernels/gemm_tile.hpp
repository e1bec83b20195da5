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

/// Rows of a tile that meets both panels of a pair; 0 where the registers hold too few of their sums, and the panels of
/// a pair run one after the other.
template <class N>
inline constexpr int rows_of_pair = N::num_accumulators / (4 * Vec<N>::parts) >= 4 ? N::num_accumulators / (4 * Vec<N>::parts) : 0;

/// Into how many runs the steps of a piece are cut, each of which all row tiles pass before the next one. With two or three
/// tiles memory sets the pace, and a run must not be much longer than the distance at which memory is best fetched;
/// with more it is arithmetic, and sums should pause seldom. Measured with 8, 12, 16 and 64 rows among 1, 2, 4, 8 and 16.
constexpr int runs_of_piece(int num_rows, int num_tiles) { return num_tiles == 2 ? (num_rows < 10 ? 8 : 4) : num_tiles == 3 ? 2 : 1; }

/// Rows of x times `num_panels` whole panels (one that is alone, a pair, or two pairs) into c. A row tile that is alone
/// reads the weights as one stream and fetches a little ahead of itself. Several row tiles read each run of steps in turn:
/// each fetches its share of the run that follows in memory, otherwise the first of them would wait for memory.
/// Pairs side by side are two streams, which the processor itself fetches ahead best.
template <class N, class P>
void multiply_panels(const GemmStrip& strip, const std::byte* w, int num_panels, float* c, std::int64_t c_stride) {
  const bool tiles_of_pairs = num_panels > 1 && rows_of_pair<N> > 0;
  const int max_rows = tiles_of_pairs ? rows_of_pair<N> : N::max_rows;
  const int num_tiles = num_row_tiles(strip.num_rows, max_rows);
  const std::int64_t all_steps = num_steps<P>(strip.num_in);
  const std::int64_t stride = num_panels == 1 ? step_bytes : 2 * step_bytes;
  const std::int64_t run_steps = piece_panel_steps<P> / (tiles_of_pairs ? runs_of_piece(strip.num_rows, num_tiles) : 1);
  const std::int64_t ahead_step = stride / num_tiles;
  for (std::int64_t step = 0; step < all_steps; step += run_steps) {
    const std::int64_t left = all_steps - step;
    const std::int64_t steps = left < run_steps ? left : run_steps;
    const std::int64_t within_piece = step % piece_panel_steps<P> * P::num_factors;
    std::int64_t ahead = num_tiles == 1 ? step * stride + fetch_distance : (step + steps) * stride;
    const auto multiply_rows = [&](int row, int rows) {
      run_panels<N, P>(rows, num_panels,
                       TileCall{.x = strip.x + piece_offset(step / piece_panel_steps<P>, strip.num_rows, row) + within_piece,
                                .runs = &w,
                                .num_runs = 1,
                                .offset = step * stride,
                                .panel_bytes = step_bytes,
                                .pair_bytes = 2 * all_steps * step_bytes,
                                .stride = stride,
                                .steps = steps,
                                .c = c + row * c_stride,
                                .c_stride = c_stride,
                                .start = step == 0 ? Start::from_zero : Start::carry_on,
                                .ahead = num_panels <= 2 ? &w : nullptr,
                                .ahead_offset = ahead,
                                .ahead_step = ahead_step});
      ahead += steps * ahead_step;
    };
    for_row_tiles<N>(strip.num_rows, multiply_rows, max_rows);
  }
}

template <class N>
inline constexpr int most_rows_of_four_panels = N::num_accumulators / (8 * Vec<N>::parts);

/// Very few rows: two pairs side by side, for enough independent chains. Others: pair by pair, one stream, a piece of
/// which stays in a cache while all rows pass.
/// Outputs that lie apart may stand in another core's cache: their lines arrive while the panel is multiplied, where the
/// stores would wait for one after the other.
inline void fetch_outputs(const GemmStrip& strip, int first_panel, int num_columns) {
  for (int row = 0; row < strip.num_rows; ++row) {
    const auto* y = reinterpret_cast<const std::byte*>(strip.y_rows[row] + strip.y_column + first_panel * panel_width);
    for (std::int64_t at = 0; at < num_columns * static_cast<std::int64_t>(sizeof(float)); at += 64) __builtin_prefetch(y + at, 1);
  }
}

template <class N, class P>
void multiply_strip(const GemmStrip& strip) {
  const auto* w = static_cast<const std::byte*>(strip.w);
  const std::int64_t panel_bytes = num_steps<P>(strip.num_in) * step_bytes;
  const int num_panels = (strip.num_columns + panel_width - 1) / panel_width;
  const int most_together = strip.num_rows <= most_rows_of_four_panels<N> ? 4 : 2;
  int together = 0;
  for (int panel = 0; panel < num_panels; panel += together) {
    const int left = num_panels - panel < most_together ? num_panels - panel : most_together;
    together = left > 1 ? left / 2 * 2 : 1;
    const int width = together * panel_width;
    const int columns = strip.num_columns - panel * panel_width < width ? strip.num_columns - panel * panel_width : width;
    if (columns == width && strip.y_rows == nullptr) {
      multiply_panels<N, P>(strip, w + panel * panel_bytes, together, strip.y + panel * panel_width, strip.y_stride);
      continue;
    }
    // Panels that cannot be written where they belong: they are partly used, or their rows lie apart.
    alignas(64) float aside[max_strip_rows * 2 * panel_width];
    if (strip.y_rows != nullptr) fetch_outputs(strip, panel, columns);
    multiply_panels<N, P>(strip, w + panel * panel_bytes, together, aside, width);
    for (std::int64_t row = 0; row < strip.num_rows; ++row) {
      float* y = strip.y_rows != nullptr ? strip.y_rows[row] + strip.y_column : strip.y + row * strip.y_stride;
      __builtin_memcpy(y + panel * panel_width, aside + row * width, static_cast<std::size_t>(columns) * sizeof(float));
    }
  }
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
