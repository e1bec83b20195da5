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

  static Reg load_words(const std::uint32_t* p) { return _mm512_castsi512_ps(_mm512_loadu_si512(p)); }
  /// Lane by lane c + a1 * b1 + a0 * b0, where a lane of a and b holds two bf16. The instruction takes
  /// denormal inputs as zero, flushes denormal results and rounds to nearest even, whatever the mode.
  static Reg dot(Reg a, Reg b, Reg c) {
    return _mm512_dpbf16_ps(c, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
};

}  // namespace
}  // namespace moebius::kernels
