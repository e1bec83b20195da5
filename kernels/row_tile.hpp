// SPDX-License-Identifier: Apache-2.0
#pragma once
// Loops over one row, sixteen lanes at a time; the rest of a row runs through the same vector code with
// the missing lanes filled. Internal linkage, only for tiles_*.cpp: see simd_vec.hpp.

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.hpp"
#include "kernels/panel.hpp"
#include "kernels/simd_vec.hpp"

namespace moebius::kernels {
namespace {

/// y = function(input...), element by element.
template <class N, class Function, class... Input>
MOEBIUS_INLINE void map_row(std::int64_t n, float* y, const Function& function, const Input*... input) {
  std::int64_t i = 0;
  for (; i + vector_width <= n; i += vector_width) store(y + i, function(load<N>(input + i)...));
  if (i < n) store_first(y + i, n - i, function(load_first<N>(input + i, n - i, 0.0F)...));
}

template <class N>
MOEBIUS_INLINE void narrow_vec(std::uint16_t* y, const Vec<N>& a) {
  for (int part = 0; part < Vec<N>::parts; ++part) N::narrow_bf16(y + part * N::lanes, a.part[part]);
}

template <class N>
MOEBIUS_INLINE Vec<N> widen_vec(const std::uint16_t* x) {
  Vec<N> r;
  for (int part = 0; part < Vec<N>::parts; ++part) r.part[part] = N::widen_bf16(x + part * N::lanes);
  return r;
}

template <class N>
void narrow_row(const float* x, std::int64_t n, std::uint16_t* y) {
  std::int64_t i = 0;
  for (; i + vector_width <= n; i += vector_width) narrow_vec<N>(y + i, load<N>(x + i));
  if (i < n) {
    std::uint16_t buffer[vector_width];
    narrow_vec<N>(buffer, load_first<N>(x + i, n - i, 0.0F));
    for (std::int64_t lane = 0; i + lane < n; ++lane) y[i + lane] = buffer[lane];
  }
}

/// An odd row ends in half a pair: zero.
template <class N>
void lay_bf16_row(const std::uint16_t* x, std::int64_t n, float* y) {
  if constexpr (N::has_dot) {
    __builtin_memcpy(y, x, static_cast<std::size_t>(n) * sizeof *x);
    if (n % 2 != 0) __builtin_memset(reinterpret_cast<char*>(y) + n * 2, 0, 2);
  } else {
    std::int64_t i = 0;
    for (; i + N::lanes <= n; i += N::lanes) N::store(y + i, N::widen_bf16(x + i));
    for (; i < n; ++i) {
      const std::uint32_t bits = std::uint32_t{x[i]} << 16;
      __builtin_memcpy(y + i, &bits, sizeof bits);
    }
    if (n % 2 != 0) y[n] = 0.0F;
  }
}

/// Sixteen values of a row of x of the next product, from column `column` on (a multiple of sixteen).
template <class N>
MOEBIUS_INLINE void store_input(ComputeType type, float* pieces, std::int64_t num_rows, std::int64_t row,
                                std::int64_t column, const Vec<N>& values) {
  constexpr std::int64_t bf16_per_float = N::has_dot ? 2 : 1;
  if (type == ComputeType::fp32) {
    store(pieces + piece_offset(column / piece_steps, num_rows, row) + column % piece_steps, values);
    return;
  }
  const std::int64_t piece = column / (piece_steps * bf16_per_float);
  const std::int64_t place = column % (piece_steps * bf16_per_float);
  float* to = pieces + piece_offset(piece, num_rows, row) + place / bf16_per_float;
  std::uint16_t narrow[vector_width];
  narrow_vec<N>(narrow, values);
  lay_bf16_row<N>(narrow, vector_width, to);
}

template <class N>
void rms_norm_row(const float* x, const float* weight, std::int64_t n, float eps, float* y) {
  Vec<N> squares = set1<N>(0.0F);
  std::int64_t i = 0;
  for (; i + vector_width <= n; i += vector_width) {
    const Vec<N> a = load<N>(x + i);
    squares = fma(a, a, squares);
  }
  if (i < n) {
    const Vec<N> a = load_first<N>(x + i, n - i, 0.0F);
    squares = fma(a, a, squares);
  }
  const float mean = sum_of_lanes(squares) / static_cast<float>(n);
  const Vec<N> scale = set1<N>(1.0F / __builtin_sqrtf(mean + eps));
  map_row<N>(n, y, [&](const Vec<N>& a, const Vec<N>& w) { return mul(mul(a, scale), w); }, x, weight);
}

template <class N>
void rope_row(const float* cosines, const float* sines, std::int64_t half, float* x) {
  std::int64_t i = 0;
  const auto turn = [](const Vec<N>& first, const Vec<N>& second, const Vec<N>& c, const Vec<N>& s, Vec<N>* turned) {
    turned[0] = fma(first, c, mul(sub(set1<N>(0.0F), second), s));
    turned[1] = fma(second, c, mul(first, s));
  };
  Vec<N> turned[2];
  for (; i + vector_width <= half; i += vector_width) {
    turn(load<N>(x + i), load<N>(x + half + i), load<N>(cosines + i), load<N>(sines + i), turned);
    store(x + i, turned[0]);
    store(x + half + i, turned[1]);
  }
  if (const std::int64_t rest = half - i; rest > 0) {
    turn(load_first<N>(x + i, rest, 0.0F), load_first<N>(x + half + i, rest, 0.0F),
         load_first<N>(cosines + i, rest, 0.0F), load_first<N>(sines + i, rest, 0.0F), turned);
    store_first(x + i, rest, turned[0]);
    store_first(x + half + i, rest, turned[1]);
  }
}

template <class N>
void combine_row(float* residual, const float* expert_out, const float* weights, int k, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + vector_width <= n; i += vector_width) {
    Vec<N> sum = mul(set1<N>(weights[0]), load<N>(expert_out + i));
    for (int k_idx = 1; k_idx < k; ++k_idx) {
      sum = fma(set1<N>(weights[k_idx]), load<N>(expert_out + k_idx * n + i), sum);
    }
    store(residual + i, add(load<N>(residual + i), sum));
  }
  if (const std::int64_t rest = n - i; rest > 0) {
    Vec<N> sum = mul(set1<N>(weights[0]), load_first<N>(expert_out + i, rest, 0.0F));
    for (int k_idx = 1; k_idx < k; ++k_idx) {
      sum = fma(set1<N>(weights[k_idx]), load_first<N>(expert_out + k_idx * n + i, rest, 0.0F), sum);
    }
    store_first(residual + i, rest, add(load_first<N>(residual + i, rest, 0.0F), sum));
  }
}

/// Four maxima side by side, since one would wait for itself; a maximum does not depend on the order.
/// A NaN never replaces the maximum, so it cannot hide the other logits of a row.
template <class N>
float max_row(const float* x, std::int64_t n) {
  const float lowest = -__builtin_inff();
  Vec<N> largest[4] = {set1<N>(lowest), set1<N>(lowest), set1<N>(lowest), set1<N>(lowest)};
  std::int64_t i = 0;
  for (; i + 4 * vector_width <= n; i += 4 * vector_width) {
    for (int j = 0; j < 4; ++j) largest[j] = max(load<N>(x + i + j * vector_width), largest[j]);
  }
  for (; i + vector_width <= n; i += vector_width) largest[0] = max(load<N>(x + i), largest[0]);
  if (i < n) largest[0] = max(load_first<N>(x + i, n - i, lowest), largest[0]);
  return max_of_lanes(max(max(largest[0], largest[1]), max(largest[2], largest[3])));
}

template <class N>
void exp_row(const float* x, float shift, float factor, std::int64_t n, float* y) {
  const Vec<N> by = set1<N>(shift);
  const Vec<N> times = set1<N>(factor);
  map_row<N>(n, y, [&](const Vec<N>& a) { return exp(mul(sub(a, by), times)); }, x);
}

/// Sums of 64 terms a lane in float, these in double: the error stays near that of one exponential.
template <class N>
double sum_exp_row(const float* x, float shift, std::int64_t n) {
  constexpr std::int64_t run = 64 * vector_width;
  const Vec<N> by = set1<N>(shift);
  double total = 0;
  for (std::int64_t begin = 0; begin < n; begin += run) {
    const std::int64_t end = begin + run < n ? begin + run : n;
    Vec<N> sum = set1<N>(0.0F);
    std::int64_t i = begin;
    for (; i + vector_width <= end; i += vector_width) sum = add(sum, exp(sub(load<N>(x + i), by)));
    if (i < end) sum = add(sum, exp(sub(load_first<N>(x + i, end - i, -__builtin_inff()), by)));
    total += static_cast<double>(sum_of_lanes(sum));
  }
  return total;
}

/// Multiply-adds in as many independent registers as a tile has, nothing else: the arithmetic peak.
template <class N, class MultiplyAdd>
MOEBIUS_INLINE float peak_steps(std::int64_t num_steps, float start, const MultiplyAdd& multiply_add) {
  typename N::Reg acc[N::num_accumulators];
#pragma GCC unroll 32
  for (int i = 0; i < N::num_accumulators; ++i) acc[i] = N::set1(start + static_cast<float>(i));
  const typename N::Reg a = N::set1(0.5F);
  const typename N::Reg b = N::set1(start);
  for (std::int64_t step = 0; step < num_steps; ++step) {
#pragma GCC unroll 32
    for (int i = 0; i < N::num_accumulators; ++i) acc[i] = multiply_add(acc[i], a, b);
  }
  float lane[N::lanes];
  float sum = 0;
  for (int i = 0; i < N::num_accumulators; ++i) {
    N::store(lane, acc[i]);
    sum += lane[0];
  }
  return sum;
}

template <class N>
float fma_steps(std::int64_t num_steps, float start) {
  using Reg = typename N::Reg;
  return peak_steps<N>(num_steps, start, [](Reg acc, Reg a, Reg b) { return N::fma(acc, a, b); });
}

template <class N>
float dot_steps(std::int64_t num_steps, float start) {
  using Reg = typename N::Reg;
  return peak_steps<N>(num_steps, start, [](Reg acc, Reg a, Reg b) { return N::dot(a, b, acc); });
}

template <class N>
constexpr PeakLoop fp32_peak_loop() {
  return {fma_steps<N>, 2 * N::num_accumulators * N::lanes};
}

template <class N>
constexpr PeakLoop bf16_peak_loop() {
  if constexpr (N::has_dot) {
    return {dot_steps<N>, 4 * N::num_accumulators * N::lanes};
  } else {
    return fp32_peak_loop<N>();
  }
}

}  // namespace
}  // namespace moebius::kernels
