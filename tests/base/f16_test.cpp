// SPDX-License-Identifier: Apache-2.0
#include "base/f16.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace moebius {
namespace {

/// The definition, by powers of two.
double value_of(unsigned bits) {
  const int exponent = static_cast<int>(bits >> 10 & 31), fraction = static_cast<int>(bits & 1023);
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25);
  return bits >> 15 != 0 ? -magnitude : magnitude;
}

TEST(F16, EveryStoredValueIsItsDefinitionAndSurvivesTheRoundTrip) {
  for (unsigned bits = 0; bits <= 0xffff; ++bits) {
    const F16 x{static_cast<std::uint16_t>(bits)};
    const float value = to_float(x);
    ASSERT_EQ(std::signbit(value), bits >= 0x8000) << bits;
    if ((bits >> 10 & 31) == 31) {
      ASSERT_TRUE((bits & 1023) == 0 ? std::isinf(value) : std::isnan(value)) << bits;
      if (std::isnan(value)) continue;
    } else {
      ASSERT_EQ(static_cast<double>(value), value_of(bits)) << bits;
    }
    ASSERT_EQ(to_f16(value), x) << bits;
  }
}

TEST(F16, RoundsToTheNearestAndTiesToEven) {
  for (unsigned bits = 0; bits < 0x7bff; ++bits) {  // between each value and the next
    const double low = value_of(bits), high = value_of(bits + 1), middle = (low + high) / 2;
    const auto round = [](double x) { return unsigned{to_f16(static_cast<float>(x)).bits}; };
    ASSERT_EQ(round(low + (high - low) * 0.49), bits);
    ASSERT_EQ(round(low + (high - low) * 0.51), bits + 1);
    ASSERT_EQ(round(middle), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(round(-middle), 0x8000 + (bits % 2 == 0 ? bits : bits + 1));
  }
  EXPECT_EQ(to_f16(65519.0F).bits, 0x7bff);
  EXPECT_EQ(to_f16(65520.0F).bits, 0x7c00);
  EXPECT_EQ(to_f16(-std::numeric_limits<float>::max()).bits, 0xfc00);
  EXPECT_TRUE(std::isnan(to_float(to_f16(std::numeric_limits<float>::signaling_NaN()))));
}

}  // namespace
}  // namespace moebius
