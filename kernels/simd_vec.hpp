// SPDX-License-Identifier: Apache-2.0
#pragma once
// A vector of sixteen floats over the registers of one instruction set, whatever their width. Because
// all kernels think in sixteen lanes, sums have the same grouping in every instruction set.
// Only the sources tiles_*.cpp (and the peak measurement of the benchmarks) include this. All of it has
// internal linkage: the same inline function compiled with AVX-512 in one source and without in another
// would be one symbol, and the linker might keep the wrong one. For the same reason no inline function
// of the standard library is used here.

#include <cstdint>

#include "kernels/panel.hpp"

#define MOEBIUS_INLINE [[gnu::always_inline]] inline

namespace moebius::kernels {
namespace {

template <class N>
struct Vec {
  static constexpr int parts = vector_width / N::lanes;
  typename N::Reg part[parts];
};

template <class N>
MOEBIUS_INLINE Vec<N> set1(float x) {
  Vec<N> r;
  for (int i = 0; i < Vec<N>::parts; ++i) r.part[i] = N::set1(x);
  return r;
}

template <class N>
MOEBIUS_INLINE Vec<N> load(const float* p) {
  Vec<N> r;
  for (int i = 0; i < Vec<N>::parts; ++i) r.part[i] = N::load(p + i * N::lanes);
  return r;
}

template <class N>
MOEBIUS_INLINE void store(float* p, const Vec<N>& a) {
  for (int i = 0; i < Vec<N>::parts; ++i) N::store(p + i * N::lanes, a.part[i]);
}

/// The first n of sixteen; the other lanes are `fill`.
template <class N>
MOEBIUS_INLINE Vec<N> load_first(const float* p, std::int64_t n, float fill) {
  if constexpr (N::lanes == vector_width) {
    return {{N::load_first(p, n, fill)}};
  } else {
    float buffer[vector_width];
    for (int i = 0; i < vector_width; ++i) buffer[i] = i < n ? p[i] : fill;
    return load<N>(buffer);
  }
}

template <class N>
MOEBIUS_INLINE void store_first(float* p, std::int64_t n, const Vec<N>& a) {
  if constexpr (N::lanes == vector_width) {
    N::store_first(p, n, a.part[0]);
  } else {
    float buffer[vector_width];
    store(buffer, a);
    for (int i = 0; i < n; ++i) p[i] = buffer[i];
  }
}

#define MOEBIUS_LANEWISE(name)                                                            \
  template <class N>                                                                      \
  MOEBIUS_INLINE Vec<N> name(const Vec<N>& a, const Vec<N>& b) {                          \
    Vec<N> r;                                                                             \
    for (int i = 0; i < Vec<N>::parts; ++i) r.part[i] = N::name(a.part[i], b.part[i]);    \
    return r;                                                                             \
  }
MOEBIUS_LANEWISE(add)
MOEBIUS_LANEWISE(sub)
MOEBIUS_LANEWISE(mul)
MOEBIUS_LANEWISE(div)
MOEBIUS_LANEWISE(max)  // b where one of them is NaN
MOEBIUS_LANEWISE(min)  // b where one of them is NaN
#undef MOEBIUS_LANEWISE

/// a * b + c
template <class N>
MOEBIUS_INLINE Vec<N> fma(const Vec<N>& a, const Vec<N>& b, const Vec<N>& c) {
  Vec<N> r;
  for (int i = 0; i < Vec<N>::parts; ++i) r.part[i] = N::fma(a.part[i], b.part[i], c.part[i]);
  return r;
}

/// The sum of the lanes by halves: lane i with i + 8, then i + 4, i + 2, i + 1.
template <class N>
MOEBIUS_INLINE float sum_of_lanes(const Vec<N>& a) {
  Vec<N> sum = a;
  for (int half = Vec<N>::parts / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sum.part[i] = N::add(sum.part[i], sum.part[i + half]);
  }
  return N::sum_of_lanes(sum.part[0]);
}

template <class N>
MOEBIUS_INLINE float max_of_lanes(const Vec<N>& a) {
  Vec<N> largest = a;
  for (int half = Vec<N>::parts / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) largest.part[i] = N::max(largest.part[i], largest.part[i + half]);
  }
  return N::max_of_lanes(largest.part[0]);
}

/// e^x, at most 1.2 units in the last place off for x in [-87.336, 88.37] (0.93 without and 0.98 with
/// fused arithmetic, as tests/kernels/row_kernels_test.cpp measures); 0 below (no denormals), +inf above,
/// NaN for NaN; exactly 1 at 0.
/// x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 is split so that n times its first part is exact, also
/// without a fused multiply-add; polynomial of the Cephes library (S. Moshier, expf).
template <class N>
MOEBIUS_INLINE Vec<N> exp(const Vec<N>& x_any) {
  const Vec<N> x = min(set1<N>(89.0F), x_any);
  const Vec<N> magic = set1<N>(12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer
  const Vec<N> shifted = fma(x, set1<N>(1.44269504088896341F), magic);
  const Vec<N> n = sub(shifted, magic);
  Vec<N> r = fma(n, set1<N>(-0.693145751953125F), x);
  r = fma(n, set1<N>(-1.42860682030941723e-6F), r);
  Vec<N> p = set1<N>(1.9875691500e-4F);
  p = fma(p, r, set1<N>(1.3981999507e-3F));
  p = fma(p, r, set1<N>(8.3334519073e-3F));
  p = fma(p, r, set1<N>(4.1665795894e-2F));
  p = fma(p, r, set1<N>(1.6666665459e-1F));
  p = fma(p, r, set1<N>(5.0000001201e-1F));
  p = add(fma(mul(r, r), p, r), set1<N>(1.0F));
  Vec<N> result;
  for (int i = 0; i < Vec<N>::parts; ++i) {
    const typename N::Reg value = N::mul(p.part[i], N::exponent_of(shifted.part[i]));
    result.part[i] = N::zero_below(value, x.part[i], N::set1(-87.33654F));
  }
  return result;
}

}  // namespace
}  // namespace moebius::kernels
