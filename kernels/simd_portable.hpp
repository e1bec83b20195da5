// SPDX-License-Identifier: Apache-2.0
#pragma once
// Four lanes for any processor, by the vector extensions of GCC and clang. `fma` is a multiplication and
// an addition with two roundings, since fused arithmetic in software would be far too slow.
// Only for sources that the tiles are instantiated in; internal linkage, see simd_vec.hpp.

#include <cstdint>
#include <cstring>

namespace moebius::kernels {
namespace {

struct Portable {
  using Reg = float __attribute__((vector_size(16)));
  using Bits = std::uint32_t __attribute__((vector_size(16)));
  static constexpr int lanes = 4;
  static constexpr int num_accumulators = 12;  // of sixteen registers
  static constexpr int max_rows = 3;
  static constexpr bool has_dot = false;

  static Reg set1(float x) { return Reg{x, x, x, x}; }
  static Reg load(const float* p) {
    Reg r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  static void store(float* p, Reg a) { std::memcpy(p, &a, sizeof a); }
  static Reg add(Reg a, Reg b) { return a + b; }
  static Reg sub(Reg a, Reg b) { return a - b; }
  static Reg mul(Reg a, Reg b) { return a * b; }
  static Reg div(Reg a, Reg b) { return a / b; }
  static Reg fma(Reg a, Reg b, Reg c) { return a * b + c; }
  static Reg max(Reg a, Reg b) { return a > b ? a : b; }
  static Reg min(Reg a, Reg b) { return a < b ? a : b; }
  static float sum_of_lanes(Reg a) { return (a[0] + a[2]) + (a[1] + a[3]); }
  static float max_of_lanes(Reg a) {
    const float even = a[0] > a[2] ? a[0] : a[2];
    const float odd = a[1] > a[3] ? a[1] : a[3];
    return even > odd ? even : odd;
  }
  static Reg zero_below(Reg value, Reg x, Reg bound) { return x < bound ? Reg{} : value; }
  static Reg exponent_of(Reg z) { return as_reg((as_bits(z) << 23) + 0x3f800000U); }
  static Reg low_halves(const std::uint32_t* p) { return as_reg(load_bits(p) << 16); }
  static Reg high_halves(const std::uint32_t* p) { return as_reg(load_bits(p) & 0xffff0000U); }
  static Reg widen_bf16(const std::uint16_t* p) {
    return as_reg(Bits{p[0], p[1], p[2], p[3]} << 16);
  }
  static void narrow_bf16(std::uint16_t* p, Reg a) {
    const Bits u = as_bits(a);
    const Bits rounded = (u + 0x7fffU + ((u >> 16) & 1U)) >> 16;
    const Bits quiet = (u >> 16) | 0x40U;
    const Bits narrow = (u & 0x7fffffffU) > 0x7f800000U ? quiet : rounded;
    for (int lane = 0; lane < lanes; ++lane) p[lane] = static_cast<std::uint16_t>(narrow[lane]);
  }

 private:
  static Bits load_bits(const std::uint32_t* p) {
    Bits r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  static Bits as_bits(Reg a) {
    Bits r;
    std::memcpy(&r, &a, sizeof r);
    return r;
  }
  static Reg as_reg(Bits a) {
    Reg r;
    std::memcpy(&r, &a, sizeof r);
    return r;
  }
};

}  // namespace
}  // namespace moebius::kernels
