// SPDX-License-Identifier: Apache-2.0
#pragma once
// IEEE binary16 as stored in checkpoints.

#include <bit>
#include <cstdint>

namespace moebius {

/// Storage type; arithmetic happens in float.
struct F16 {
  std::uint16_t bits = 0;
  constexpr bool operator==(const F16&) const = default;
};

/// Exact.
constexpr float to_float(F16 half) {
  const std::uint32_t sign = static_cast<std::uint32_t>(half.bits & 0x8000U) << 16;
  const std::uint32_t exponent = (half.bits >> 10) & 0x1fU, fraction = half.bits & 0x3ffU;
  if (exponent == 0x1fU) return std::bit_cast<float>(sign | 0x7f800000U | (fraction << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (fraction << 13));
  const float magnitude = static_cast<float>(fraction) * 0x1p-24F;  // subnormal halves are normal floats
  return sign != 0 ? -magnitude : magnitude;
}

/// Round to nearest, ties to even; what is too large becomes an infinity, NaN a quiet NaN.
constexpr F16 to_f16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>(u >> 16 & 0x8000U);
  const std::uint32_t magnitude = u & 0x7fffffffU;
  if (magnitude > 0x7f800000U) return F16{static_cast<std::uint16_t>(sign | 0x7e00U)};
  if (magnitude >= 0x477ff000U) return F16{static_cast<std::uint16_t>(sign | 0x7c00U)};  // 65520 and more
  if (magnitude < 0x38800000U) {  // below 2^-14: adding 0.5 leaves a multiple of 2^-24 in the last bits, rounded
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return F16{static_cast<std::uint16_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x3f000000U))};
  }
  const std::uint32_t rounded = magnitude + 0x0fffU + (magnitude >> 13 & 1U);
  return F16{static_cast<std::uint16_t>(sign | (rounded - (112U << 23)) >> 13)};
}

}  // namespace moebius
