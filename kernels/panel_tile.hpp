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

/// Bytes of one step of a panel of any kind: 32 words.
inline constexpr std::int64_t step_bytes = 4 * panel_width;

// The kinds of panels. A step covers `num_k` of k and takes `num_factors` floats of a row of x, each of which
// meets its own vectors of columns in one `multiply_add`.

struct Fp32Panel {
  static constexpr int num_k = 1;
  static constexpr int num_factors = 1;
  template <class N, int factor_idx>
  MOEBIUS_INLINE static typename N::Reg columns(const std::byte* p) {
    return N::load(reinterpret_cast<const float*>(p));
  }
  template <class N>
  MOEBIUS_INLINE static typename N::Reg multiply_add(typename N::Reg factor, typename N::Reg columns, typename N::Reg acc) {
    return N::fma(factor, columns, acc);
  }
};

/// Pairs of bf16 are widened, then two fused multiply-adds, the lower k first. x is fp32.
struct Bf16PairPanel {
  static constexpr int num_k = 2;
  static constexpr int num_factors = 2;
  template <class N, int factor_idx>
  MOEBIUS_INLINE static typename N::Reg columns(const std::byte* p) {
    const auto* words = reinterpret_cast<const std::uint32_t*>(p);
    if constexpr (factor_idx == 0) {
      return N::low_halves(words);
    } else {
      return N::high_halves(words);
    }
  }
  template <class N>
  MOEBIUS_INLINE static typename N::Reg multiply_add(typename N::Reg factor, typename N::Reg columns, typename N::Reg acc) {
    return N::fma(factor, columns, acc);
  }
};

/// The same panel where the processor multiplies pairs itself; a float of x is then the bits of a pair.
struct Bf16DotPanel {
  static constexpr int num_k = 2;
  static constexpr int num_factors = 1;
  template <class N, int factor_idx>
  MOEBIUS_INLINE static typename N::Reg columns(const std::byte* p) {
    return N::load(reinterpret_cast<const float*>(p));
  }
  template <class N>
  MOEBIUS_INLINE static typename N::Reg multiply_add(typename N::Reg factor, typename N::Reg columns, typename N::Reg acc) {
    return N::dot(factor, columns, acc);
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

/// Steps over num_k values of k, the last of which may be half full.
template <class P>
constexpr std::int64_t num_steps(std::int64_t k) {
  return (k + P::num_k - 1) / P::num_k;
}

/// Steps whose x fills a piece.
template <class P>
inline constexpr std::int64_t piece_panel_steps = piece_steps / P::num_factors;

/// One call of a tile. The k may lie in several runs of memory (kv blocks), one after the other.
/// x: [rows, num_runs * steps * num_factors] at piece_stride; c: [rows, panels * 32] at c_stride.
struct TileCall {
  const float* x;
  const std::byte* const* runs;  ///< begins of the runs
  int num_runs;
  std::int64_t offset;           ///< bytes from there to the first panel, [panels, steps, 32] words
  std::int64_t panel_bytes;      ///< from a panel to its neighbour, the first to the second, the third to the fourth ...
  std::int64_t pair_bytes;       ///< ... and from the first to the third
  std::int64_t stride;           ///< from step to step of a panel
  std::int64_t steps;            ///< of one run
  float* c;
  std::int64_t c_stride;
  Start start;
  const std::byte* const* ahead; ///< of each run: memory of the same form that is read later, fetched meanwhile; or nullptr
  std::int64_t ahead_offset;     ///< bytes from there to the first panel
  std::int64_t ahead_step;       ///< bytes fetched per step and panel
};

template <class N, int rows, int panels, int num_vecs>
struct Accumulators {
  Vec<N> at[rows][panels][num_vecs];
};

/// One factor of every row meets its columns.
template <class N, class P, int rows, int panels, int first_vec, int num_vecs, int factor_idx>
MOEBIUS_INLINE void multiply_factor(const float* x, const std::byte* w, std::int64_t panel_bytes, std::int64_t pair_bytes,
                                    Accumulators<N, rows, panels, num_vecs>& acc) {
  constexpr int parts = Vec<N>::parts;
  Vec<N> columns[panels][num_vecs];
#pragma GCC unroll 4
  for (int panel = 0; panel < panels; ++panel) {
#pragma GCC unroll 2
    for (int vec = 0; vec < num_vecs; ++vec) {
#pragma GCC unroll 4
      for (int i = 0; i < parts; ++i) {
        const std::byte* p = w + panel / 2 * pair_bytes + panel % 2 * panel_bytes + ((first_vec + vec) * vector_width + i * N::lanes) * 4;
        columns[panel][vec].part[i] = P::template columns<N, factor_idx>(p);
      }
    }
  }
#pragma GCC unroll 16
  for (int row = 0; row < rows; ++row) {
    const typename N::Reg factor = N::set1(x[row * piece_stride + factor_idx]);
#pragma GCC unroll 4
    for (int panel = 0; panel < panels; ++panel) {
#pragma GCC unroll 2
      for (int vec = 0; vec < num_vecs; ++vec) {
#pragma GCC unroll 4
        for (int i = 0; i < parts; ++i) {
          typename N::Reg& sum = acc.at[row][panel][vec].part[i];
          sum = P::template multiply_add<N>(factor, columns[panel][vec].part[i], sum);
        }
      }
    }
  }
}

template <class N, class P, int rows, int panels, int first_vec, int num_vecs>
MOEBIUS_INLINE void tile_part(const TileCall& call) {
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
  for (int run = 0; run < call.num_runs; ++run) {
    const std::byte* w = call.runs[run] + call.offset;
    const std::byte* ahead = call.ahead != nullptr ? call.ahead[run] + call.ahead_offset : nullptr;
    for (std::int64_t step = 0; step < call.steps; ++step, x += P::num_factors, w += call.stride) {
      if (ahead != nullptr) {
#pragma GCC unroll 4
        for (int panel = 0; panel < panels; ++panel) {
          const std::byte* line = ahead + panel / 2 * call.pair_bytes + panel % 2 * call.panel_bytes;
          __builtin_prefetch(line, 0, 3);
          __builtin_prefetch(line + 64, 0, 3);
        }
        ahead += call.ahead_step;
      }
      multiply_factor<N, P, rows, panels, first_vec, num_vecs, 0>(x, w, call.panel_bytes, call.pair_bytes, acc);
      if constexpr (P::num_factors == 2) {
        multiply_factor<N, P, rows, panels, first_vec, num_vecs, 1>(x, w, call.panel_bytes, call.pair_bytes, acc);
      }
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
void run_tile(const TileCall& call) {
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
bool run_rows(int num_rows, const TileCall& call) {
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
/// multiply-add (four to six cycles, two units: up to twelve chains) and to stream weights at full speed.
template <class N, class P>
MOEBIUS_INLINE void run_panels(int num_rows, int num_panels, const TileCall& call) {
  TileCall next = call;
  int done = 0;
  while (done < num_panels) {
    const int left = num_panels - done;
    const std::int64_t at = done / 2 * call.pair_bytes + done % 2 * call.panel_bytes;
    next.offset = call.offset + at;
    next.ahead_offset = call.ahead_offset + at;
    next.c = call.c + done * panel_width;
    int width = 1;
    if (left >= 4 && run_rows<N, P, 4>(num_rows, next)) {
      width = 4;
    } else if (left >= 2 && run_rows<N, P, 2>(num_rows, next)) {
      width = 2;
    } else {
      run_rows<N, P, 1>(num_rows, next);
    }
    done += width;
  }
}

constexpr int num_row_tiles(int num_rows, int max_rows) { return (num_rows + max_rows - 1) / max_rows; }

/// Calls body(first_row, rows) for tiles of nearly equal height that cover num_rows.
template <class N, class Body>
MOEBIUS_INLINE void for_row_tiles(int num_rows, const Body& body, int max_rows = N::max_rows) {
  const int num_tiles = num_row_tiles(num_rows, max_rows);
  int row = 0;
  for (int tile = 0; tile < num_tiles; ++tile) {
    const int rows = (num_rows - row) / (num_tiles - tile);
    body(row, rows);
    row += rows;
  }
}

}  // namespace
}  // namespace moebius::kernels
