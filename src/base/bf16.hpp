// SPDX-License-Identifier: Apache-2.0
#pragma once
// bfloat16 as stored in checkpoints and on the wire: the upper half of an IEEE binary32.

#include <bit>
#include <cstdint>

namespace moebius {

/// Storage type; arithmetic happens in float.
struct Bf16 {
  std::uint16_t bits = 0;
  constexpr bool operator==(const Bf16&) const = default;
};

constexpr float to_float(Bf16 x) { return std::bit_cast<float>(static_cast<std::uint32_t>(x.bits) << 16); }

/// Round to nearest, ties to even; NaN stays a quiet NaN (its payload is not kept).
constexpr Bf16 to_bf16(float x) {
  const auto u = std::bit_cast<std::uint32_t>(x);
  if ((u & 0x7fffffffU) > 0x7f800000U) return Bf16{static_cast<std::uint16_t>((u >> 16) | 0x0040U)};
  return Bf16{static_cast<std::uint16_t>((u + 0x7fffU + ((u >> 16) & 1U)) >> 16)};
}

}  // namespace moebius
