// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sixteen lanes with AVX-512F. Only for sources compiled with -mavx512f -mfma; internal linkage, see
// simd_vec.hpp.

#include <immintrin.h>

#include <cstdint>

namespace moebius::kernels {
namespace {

struct Avx512 {
  using Reg = __m512;
  static constexpr int lanes = 16;
  static constexpr int num_accumulators = 24;  // of 32 registers
  static constexpr int max_rows = 12;
  static constexpr bool has_dot = false;

  static Reg set1(float x) { return _mm512_set1_ps(x); }
  static Reg load(const float* p) { return _mm512_loadu_ps(p); }
  static void store(float* p, Reg a) { _mm512_storeu_ps(p, a); }
  static Reg add(Reg a, Reg b) { return _mm512_add_ps(a, b); }
  static Reg sub(Reg a, Reg b) { return _mm512_sub_ps(a, b); }
  static Reg mul(Reg a, Reg b) { return _mm512_mul_ps(a, b); }
  static Reg div(Reg a, Reg b) { return _mm512_div_ps(a, b); }
  static Reg fma(Reg a, Reg b, Reg c) { return _mm512_fmadd_ps(a, b, c); }
  static Reg max(Reg a, Reg b) { return _mm512_max_ps(a, b); }
  static Reg min(Reg a, Reg b) { return _mm512_min_ps(a, b); }
  static Reg load_first(const float* p, std::int64_t n, float fill) {
    return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), first_lanes(n), p);
  }
  static void store_first(float* p, std::int64_t n, Reg a) { _mm512_mask_storeu_ps(p, first_lanes(n), a); }
  static float sum_of_lanes(Reg a) { return _mm512_reduce_add_ps(a); }  // by halves
  static float max_of_lanes(Reg a) { return _mm512_reduce_max_ps(a); }
  static Reg zero_below(Reg value, Reg x, Reg bound) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, bound, _CMP_NLT_UQ), value);
  }
  static Reg exponent_of(Reg z) {
    return _mm512_castsi512_ps(
        _mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(z), 23), _mm512_set1_epi32(0x3f800000)));
  }
  static Reg low_halves(const std::uint32_t* p) { return _mm512_castsi512_ps(_mm512_slli_epi32(load_bits(p), 16)); }
  static Reg high_halves(const std::uint32_t* p) {
    return _mm512_castsi512_ps(_mm512_and_si512(load_bits(p), _mm512_set1_epi32(static_cast<int>(0xffff0000U))));
  }
  static Reg widen_bf16(const std::uint16_t* p) {
    const __m256i half = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
  }
  static void narrow_bf16(std::uint16_t* p, Reg a) {
    const __m512i u = _mm512_castps_si512(a);
    const __m512i upper = _mm512_srli_epi32(u, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i rounded =
        _mm512_srli_epi32(_mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __m512i quiet = _mm512_or_si512(upper, _mm512_set1_epi32(0x40));
    const __m512i narrow = _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), quiet);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(narrow));
  }

 private:
  static __mmask16 first_lanes(std::int64_t n) { return static_cast<__mmask16>(n < lanes ? (1U << n) - 1U : 0xffffU); }
  static __m512i load_bits(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
};

}  // namespace
}  // namespace moebius::kernels
