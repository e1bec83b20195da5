// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one inner loop of all products (weights, q K^T, probabilities times V): a few rows of x times one
// or more panels, in registers. One accumulator lane is one output element, and its chain over k does not
// know how many rows or panels stand beside it: that is where the bits of the whole program become
// independent of batching. A chain may pause in memory (Start::carry_on), which does not change it.
// Internal linkage, only for tiles_*.cpp: see simd_vec.hpp.

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.hpp"
#include "kernels/simd_vec.hpp"

namespace moebius::kernels {
namespace {

enum class Start { from_zero, carry_on };

// The kinds of panels. `step` is the elements of one step; a step takes `num_factors` floats of a row of x,
// each of which meets its own vectors of columns in one `multiply_add`.

struct Fp32Panel {
  using Element = float;
  static constexpr std::int64_t step = panel_width;
  static constexpr int num_factors = 1;
  template <class N, int vec_idx, int factor_idx>
  MOEBIUS_INLINE static Vec<N> columns(const Element* p) {
    return load<N>(p + vec_idx * vector_width);
  }
  template <class N>
  MOEBIUS_INLINE static Vec<N> multiply_add(const Vec<N>& factor, const Vec<N>& columns, const Vec<N>& acc) {
    return fma(factor, columns, acc);
  }
};

/// Weights in bf16, two k a step: widened, then two fused multiply-adds, the lower k first.
struct Bf16PairPanel {
  using Element = std::uint32_t;
  static constexpr std::int64_t step = panel_width;
  static constexpr int num_factors = 2;
  template <class N, int vec_idx, int factor_idx>
  MOEBIUS_INLINE static Vec<N> columns(const Element* p) {
    Vec<N> r;
    for (int i = 0; i < Vec<N>::parts; ++i) {
      const Element* words = p + vec_idx * vector_width + i * N::lanes;
      r.part[i] = factor_idx == 0 ? N::low_halves(words) : N::high_halves(words);
    }
    return r;
  }
  template <class N>
  MOEBIUS_INLINE static Vec<N> multiply_add(const Vec<N>& factor, const Vec<N>& columns, const Vec<N>& acc) {
    return fma(factor, columns, acc);
  }
};

/// The same panel where the processor multiplies pairs itself; a float of x is then the bits of a pair.
struct Bf16DotPanel {
  using Element = std::uint32_t;
  static constexpr std::int64_t step = panel_width;
  static constexpr int num_factors = 1;
  template <class N, int vec_idx, int factor_idx>
  MOEBIUS_INLINE static Vec<N> columns(const Element* p) {
    Vec<N> r;
    for (int i = 0; i < Vec<N>::parts; ++i) r.part[i] = N::load_words(p + vec_idx * vector_width + i * N::lanes);
    return r;
  }
  template <class N>
  MOEBIUS_INLINE static Vec<N> multiply_add(const Vec<N>& factor, const Vec<N>& columns, const Vec<N>& acc) {
    Vec<N> r;
    for (int i = 0; i < Vec<N>::parts; ++i) r.part[i] = N::dot(factor.part[i], columns.part[i], acc.part[i]);
    return r;
  }
};

template <class N>
auto bf16_panel() {
  if constexpr (N::has_dot) {
    return Bf16DotPanel{};
  } else {
    return Bf16PairPanel{};
  }
}

/// Keys and values in bf16.
struct Bf16Panel {
  using Element = std::uint32_t;
  static constexpr std::int64_t step = panel_width / 2;
  static constexpr int num_factors = 1;
  template <class N, int vec_idx, int factor_idx>
  MOEBIUS_INLINE static Vec<N> columns(const Element* p) {
    Vec<N> r;
    for (int i = 0; i < Vec<N>::parts; ++i) {
      r.part[i] = vec_idx == 0 ? N::low_halves(p + i * N::lanes) : N::high_halves(p + i * N::lanes);
    }
    return r;
  }
  template <class N>
  MOEBIUS_INLINE static Vec<N> multiply_add(const Vec<N>& factor, const Vec<N>& columns, const Vec<N>& acc) {
    return fma(factor, columns, acc);
  }
};

/// One call of a tile. x: [rows, steps * num_factors] at piece_stride; c: [rows, panels * 32] at c_stride.
template <class P>
struct TileCall {
  const float* x;
  const typename P::Element* w;  // [panels, steps, 32], panel_stride elements from panel to panel
  std::int64_t panel_stride;
  std::int64_t steps;
  float* c;
  std::int64_t c_stride;
  Start start;
  const std::byte* ahead;      ///< weights that later calls read, fetched while this one computes
  std::int64_t ahead_step;     ///< bytes fetched per step
};

template <class N, int rows, int panels, int num_vecs>
struct Accumulators {
  Vec<N> at[rows][panels][num_vecs];
};

/// One factor of every row meets its columns.
template <class N, class P, int rows, int panels, int first_vec, int num_vecs, int factor_idx>
MOEBIUS_INLINE void multiply_factor(const float* x, const typename P::Element* w, std::int64_t panel_stride,
                                    Accumulators<N, rows, panels, num_vecs>& acc) {
  Vec<N> columns[panels][num_vecs];
#pragma GCC unroll 4
  for (int panel = 0; panel < panels; ++panel) {
    const typename P::Element* p = w + panel * panel_stride;
    columns[panel][0] = P::template columns<N, first_vec, factor_idx>(p);
    if constexpr (num_vecs == 2) columns[panel][1] = P::template columns<N, 1, factor_idx>(p);
  }
#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row) {
    const Vec<N> factor = set1<N>(x[row * piece_stride + factor_idx]);
#pragma GCC unroll 4
    for (int panel = 0; panel < panels; ++panel) {
#pragma GCC unroll 2
      for (int vec = 0; vec < num_vecs; ++vec) {
        acc.at[row][panel][vec] = P::multiply_add(factor, columns[panel][vec], acc.at[row][panel][vec]);
      }
    }
  }
}

template <class N, class P, int rows, int panels, int first_vec, int num_vecs>
MOEBIUS_INLINE void tile_part(const TileCall<P>& call) {
  Accumulators<N, rows, panels, num_vecs> acc;
  float* const c = call.c + first_vec * vector_width;
#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row) {
#pragma GCC unroll 4
    for (int panel = 0; panel < panels; ++panel) {
#pragma GCC unroll 2
      for (int vec = 0; vec < num_vecs; ++vec) {
        acc.at[row][panel][vec] = call.start == Start::from_zero
                                      ? set1<N>(0.0F)
                                      : load<N>(c + row * call.c_stride + panel * panel_width + vec * vector_width);
      }
    }
  }
  const float* x = call.x;
  const typename P::Element* w = call.w;
  const std::byte* ahead = call.ahead;
  for (std::int64_t step = 0; step < call.steps; ++step, x += P::num_factors, w += P::step, ahead += call.ahead_step) {
    if constexpr (panels == 1) {
      __builtin_prefetch(ahead, 0, 2);
      __builtin_prefetch(ahead + 64, 0, 2);
    }
    multiply_factor<N, P, rows, panels, first_vec, num_vecs, 0>(x, w, call.panel_stride, acc);
    if constexpr (P::num_factors == 2) {
      multiply_factor<N, P, rows, panels, first_vec, num_vecs, 1>(x, w, call.panel_stride, acc);
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row) {
#pragma GCC unroll 4
    for (int panel = 0; panel < panels; ++panel) {
#pragma GCC unroll 2
      for (int vec = 0; vec < num_vecs; ++vec) {
        store(c + row * call.c_stride + panel * panel_width + vec * vector_width, acc.at[row][panel][vec]);
      }
    }
  }
}

template <class N, int rows, int panels>
inline constexpr bool fits_registers = rows * panels * 2 * Vec<N>::parts <= N::num_accumulators;

/// Where the accumulators of a whole panel do not fit the registers, its two halves run one after the other.
template <class N, class P, int rows, int panels>
void run_tile(const TileCall<P>& call) {
  if constexpr (fits_registers<N, rows, panels>) {
    tile_part<N, P, rows, panels, 0, 2>(call);
  } else {
    static_assert(panels == 1);
    tile_part<N, P, rows, 1, 0, 1>(call);
    tile_part<N, P, rows, 1, 1, 1>(call);
  }
}

/// `panels` panels side by side for num_rows <= N::max_rows; false where no such tile fits the registers.
template <class N, class P, int panels, int rows = N::max_rows>
bool run_rows(int num_rows, const TileCall<P>& call) {
  if constexpr (rows == 0) {
    return false;
  } else {
    if (num_rows != rows) return run_rows<N, P, panels, rows - 1>(num_rows, call);
    if constexpr (panels == 1 || fits_registers<N, rows, panels>) {
      run_tile<N, P, rows, panels>(call);
      return true;
    }
    return false;
  }
}

/// Several panels beside each other give few rows enough independent chains to hide the latency of the
/// fused multiply-add (four cycles, two units: eight chains) and to stream weights at full speed.
template <class N, class P>
MOEBIUS_INLINE void run_panels(int num_rows, int num_panels, const TileCall<P>& call) {
  TileCall<P> next = call;
  int done = 0;
  while (done < num_panels) {
    const int left = num_panels - done;
    int width = 1;
    if (left >= 4 && run_rows<N, P, 4>(num_rows, next)) {
      width = 4;
    } else if (left >= 2 && run_rows<N, P, 2>(num_rows, next)) {
      width = 2;
    } else {
      run_rows<N, P, 1>(num_rows, next);
    }
    done += width;
    next.w += width * next.panel_stride;
    next.c += width * panel_width;
  }
}

template <class N>
constexpr int num_row_tiles(int num_rows) {
  return (num_rows + N::max_rows - 1) / N::max_rows;
}

/// Calls body(first_row, rows) for tiles of nearly equal height that cover num_rows.
template <class N, class Body>
MOEBIUS_INLINE void for_row_tiles(int num_rows, const Body& body) {
  const int num_tiles = num_row_tiles<N>(num_rows);
  int row = 0;
  for (int tile = 0; tile < num_tiles; ++tile) {
    const int rows = (num_rows - row) / (num_tiles - tile);
    body(row, rows);
    row += rows;
  }
}

/// Steps of a whole panel of weights: in bf16 a step is a pair of k.
template <class P>
constexpr std::int64_t steps_of(const GemmStrip& strip) {
  return strip.type == ComputeType::bf16 ? (std::int64_t{strip.num_in} + 1) / 2 : strip.num_in;
}

/// Rows of x times `num_panels` whole panels into c. While the row tiles of a piece compute, each fetches
/// its share of the piece that follows in memory (of this panel or the next) into the second-level cache:
/// otherwise the first tile of every piece would wait for memory.
template <class N, class P>
void multiply_panels(const GemmStrip& strip, const typename P::Element* w, int num_panels, float* c,
                     std::int64_t c_stride) {
  constexpr std::int64_t piece_steps_of_panel = piece_steps / P::num_factors;
  const std::int64_t num_steps = steps_of<P>(strip);
  std::int64_t piece = 0;
  for (std::int64_t step = 0; step < num_steps; step += piece_steps_of_panel, ++piece) {
    const std::int64_t left = num_steps - step;
    const std::int64_t steps = left < piece_steps_of_panel ? left : piece_steps_of_panel;
    const std::int64_t step_bytes = P::step * static_cast<std::int64_t>(sizeof(typename P::Element));
    const std::int64_t ahead_step = step_bytes / num_row_tiles<N>(strip.num_rows);
    const auto* ahead = reinterpret_cast<const std::byte*>(w + (step + steps) * P::step);
    for_row_tiles<N>(strip.num_rows, [&](int row, int rows) {
      run_panels<N, P>(rows, num_panels,
                       TileCall<P>{.x = strip.x + piece_offset(piece, strip.num_rows, row),
                                   .w = w + step * P::step,
                                   .panel_stride = num_steps * P::step,
                                   .steps = steps,
                                   .c = c + row * c_stride,
                                   .c_stride = c_stride,
                                   .start = piece == 0 ? Start::from_zero : Start::carry_on,
                                   .ahead = ahead,
                                   .ahead_step = ahead_step});
      ahead += steps * ahead_step;
    });
  }
}

template <class N, class P>
void multiply_strip(const GemmStrip& strip) {
  const auto* w = static_cast<const typename P::Element*>(strip.w);
  const std::int64_t panel_stride = steps_of<P>(strip) * P::step;
  const int full_panels = strip.num_columns / panel_width;
  // Few rows: all panels side by side. Many rows: panel by panel, so that a piece of it stays in the
  // first-level cache while all rows pass.
  const int together = strip.num_rows <= 3 ? full_panels : 1;
  for (int panel = 0; panel < full_panels; panel += together) {
    multiply_panels<N, P>(strip, w + panel * panel_stride, together, strip.y + panel * panel_width, strip.y_stride);
  }
  const int rest = strip.num_columns - full_panels * panel_width;
  if (rest == 0) return;
  alignas(64) float edge[max_strip_rows * panel_width];
  multiply_panels<N, P>(strip, w + full_panels * panel_stride, 1, edge, panel_width);
  for (int row = 0; row < strip.num_rows; ++row) {
    float* y = strip.y + row * strip.y_stride + full_panels * panel_width;
    for (int column = 0; column < rest; ++column) y[column] = edge[row * panel_width + column];
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
