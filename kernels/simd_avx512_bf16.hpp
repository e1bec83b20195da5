// SPDX-License-Identifier: Apache-2.0
#pragma once
// Sixteen lanes with AVX-512F and the dot products of AVX512_BF16. Only for sources compiled with
// -mavx512bf16; internal linkage, see simd_vec.hpp.

#include <immintrin.h>

#include <cstdint>

#include "kernels/simd_avx512.hpp"

namespace moebius::kernels {
namespace {

struct Avx512Bf16 : Avx512 {
  static constexpr bool has_dot = true;

  /// As narrow_bf16 for all but denormals, which become zero.
  static void narrow_normal_bf16(std::uint16_t* p, Reg a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(a)));
  }
  /// Lane by lane c + a1 * b1 + a0 * b0, where a lane of a and b holds two bf16. The instruction takes
  /// denormal inputs as zero, flushes denormal results and rounds to nearest even, whatever the mode.
  static Reg dot(Reg a, Reg b, Reg c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
};

}  // namespace
}  // namespace moebius::kernels
