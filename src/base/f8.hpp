// SPDX-License-Identifier: Apache-2.0
#pragma once
// 8-bit floating-point weights as DeepSeek-V3 ships them: E4M3 of the OCP 8-bit specification (1.0, 2023):
// 4 bits of exponent with bias 7, 3 of fraction, no infinities, NaN where all seven bits are set.

#include <bit>
#include <cstdint>

namespace moebius {

/// Storage type; arithmetic happens in float.
struct F8E4M3 {
  std::uint8_t bits = 0;
  constexpr bool operator==(const F8E4M3&) const = default;
};

/// Exact.
constexpr float to_float(F8E4M3 x) {
  const std::uint32_t sign = static_cast<std::uint32_t>(x.bits & 0x80U) << 24;
  const std::uint32_t exponent = x.bits >> 3 & 0xfU, fraction = x.bits & 7U;
  if ((x.bits & 0x7fU) == 0x7fU) return std::bit_cast<float>(sign | 0x7fc00000U);
  if (exponent != 0) return std::bit_cast<float>(sign | (exponent + 120) << 23 | fraction << 20);
  const float magnitude = static_cast<float>(fraction) * 0x1p-9F;
  return sign != 0 ? -magnitude : magnitude;
}

/// Round to nearest, ties to even; what is too large becomes the largest number (448), NaN stays NaN.
constexpr F8E4M3 to_f8_e4m3(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint8_t>(u >> 24 & 0x80U);
  const std::uint32_t magnitude = u & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return F8E4M3{static_cast<std::uint8_t>(sign | 0x7fU)};
  if (magnitude >= 0x43e00000U) return F8E4M3{static_cast<std::uint8_t>(sign | 0x7eU)};  // 448 and more
  if (magnitude < 0x3c800000U) {  // below 2^-6: adding 2^14 leaves a multiple of 2^-9 in the last bits, rounded
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14F;
    return F8E4M3{static_cast<std::uint8_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x46800000U))};
  }
  const std::uint32_t rounded = magnitude + 0x7ffffU + (magnitude >> 20 & 1U);
  return F8E4M3{static_cast<std::uint8_t>(sign | (rounded - (120U << 23)) >> 20)};
}

}  // namespace moebius
