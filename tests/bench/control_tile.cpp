// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/control_tile.hpp"

#include <immintrin.h>

#include <array>

namespace moebius::bench {

namespace {

constexpr int piece_pairs = 256;
constexpr int piece_stride = 272;
constexpr int panel_pairs = 32;  // of one step

struct Tile {
  const std::uint32_t* x;
  const std::uint32_t* w;
  std::int64_t panel_stride;
  float* y;
  std::int64_t y_stride;
  bool first_piece;
  const std::uint32_t* ahead;
  std::int64_t ahead_step;  // in pairs
};

/// `splits` chains for each output, of the steps modulo `splits`, added at the end of a piece: more chains
/// to hide the latency of the instruction where rows and panels give too few.
template <int rows, int panels, int splits>
void run_tile(const Tile& tile) {
  __m512 acc[splits][rows][panels][2];
#pragma GCC unroll 4
  for (auto& of_split : acc) {
#pragma GCC unroll 16
    for (auto& of_row : of_split) {
#pragma GCC unroll 4
      for (auto& of_panel : of_row) of_panel[0] = of_panel[1] = _mm512_setzero_ps();
    }
  }
  const std::uint32_t* w = tile.w;
  const std::uint32_t* x = tile.x;
  const std::uint32_t* ahead = tile.ahead;
  for (int step = 0; step < piece_pairs; step += splits) {
#pragma GCC unroll 4
    for (int split = 0; split < splits; ++split, ++x, w += panel_pairs, ahead += tile.ahead_step) {
      __m512i columns[panels][2];
#pragma GCC unroll 4
      for (int panel = 0; panel < panels; ++panel) {
        columns[panel][0] = _mm512_loadu_si512(w + panel * tile.panel_stride);
        columns[panel][1] = _mm512_loadu_si512(w + panel * tile.panel_stride + 16);
        _mm_prefetch(reinterpret_cast<const char*>(ahead + panel * tile.panel_stride), _MM_HINT_T1);
        _mm_prefetch(reinterpret_cast<const char*>(ahead + panel * tile.panel_stride + 16), _MM_HINT_T1);
      }
#pragma GCC unroll 16
      for (int row = 0; row < rows; ++row) {
        const auto factor = reinterpret_cast<__m512bh>(_mm512_set1_epi32(static_cast<int>(x[row * piece_stride])));
#pragma GCC unroll 4
        for (int panel = 0; panel < panels; ++panel) {
          auto& sums = acc[split][row][panel];
          sums[0] = _mm512_dpbf16_ps(sums[0], factor, reinterpret_cast<__m512bh>(columns[panel][0]));
          sums[1] = _mm512_dpbf16_ps(sums[1], factor, reinterpret_cast<__m512bh>(columns[panel][1]));
        }
      }
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row) {
#pragma GCC unroll 4
    for (int panel = 0; panel < panels; ++panel) {
#pragma GCC unroll 2
      for (int vec = 0; vec < 2; ++vec) {
        __m512 sum = acc[0][row][panel][vec];
#pragma GCC unroll 4
        for (int split = 1; split < splits; ++split) sum = _mm512_add_ps(sum, acc[split][row][panel][vec]);
        float* y = tile.y + row * tile.y_stride + panel * 32 + vec * 16;
        _mm512_storeu_ps(y, tile.first_piece ? sum : _mm512_add_ps(sum, _mm512_loadu_ps(y)));
      }
    }
  }
}

using Run = void (*)(const Tile&);
struct Shape {
  Run run;
  int panels;
};

/// By rows of a tile: as many chains as registers hold, at least sixteen where that is possible.
constexpr std::array<Shape, 15> shapes = {{{nullptr, 0},
                                           {run_tile<1, 4, 2>, 4},
                                           {run_tile<2, 4, 1>, 4},
                                           {run_tile<3, 4, 1>, 4},
                                           {run_tile<4, 1, 2>, 1},
                                           {run_tile<5, 1, 2>, 1},
                                           {run_tile<6, 1, 2>, 1},
                                           {run_tile<7, 1, 2>, 1},
                                           {run_tile<8, 1, 1>, 1},
                                           {run_tile<9, 1, 1>, 1},
                                           {run_tile<10, 1, 1>, 1},
                                           {run_tile<11, 1, 1>, 1},
                                           {run_tile<12, 1, 1>, 1},
                                           {run_tile<13, 1, 1>, 1},
                                           {run_tile<14, 1, 1>, 1}}};
constexpr int max_rows = 14;

}  // namespace

void control_product(const ControlCall& call) {
  const int num_tiles = (call.num_rows + max_rows - 1) / max_rows;
  // All tiles share the panels of the lowest one, so that a piece of them stays in the first-level cache.
  const int panels = shapes[static_cast<std::size_t>(call.num_rows / num_tiles)].panels;
  const std::int64_t panel_stride = std::int64_t{call.num_pairs} * panel_pairs;
  const std::int64_t y_stride = std::int64_t{call.num_panels} * 32;
  for (int panel = 0; panel < call.num_panels; panel += panels) {
    for (int piece = 0; piece * piece_pairs < call.num_pairs; ++piece) {
      const std::uint32_t* w = call.w + panel * panel_stride + std::int64_t{piece} * piece_pairs * panel_pairs;
      const std::int64_t ahead_step = panel_pairs / num_tiles;
      // As our product: a tile that is alone fetches 8 KiB ahead in one stream, several share the next piece.
      const std::uint32_t* ahead = w + (num_tiles > 1 ? piece_pairs * panel_pairs : panels == 1 ? 2048 : 0);
      for (int tile = 0, row = 0; tile < num_tiles; ++tile) {
        const int rows = (call.num_rows - row) / (num_tiles - tile);
        const Shape& shape = shapes[static_cast<std::size_t>(rows)];
        for (int within = 0; within < panels; within += shape.panels) {
          shape.run({call.x + (std::int64_t{piece} * call.num_rows + row) * piece_stride, w + within * panel_stride, panel_stride,
                     call.y + row * y_stride + (panel + within) * 32, y_stride, piece == 0, ahead + within * panel_stride, ahead_step});
        }
        ahead += piece_pairs * ahead_step;
        row += rows;
      }
    }
  }
}

}  // namespace moebius::bench
