// SPDX-License-Identifier: Apache-2.0
#include "base/f8.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace moebius {
namespace {

/// The definition of OCP 8-bit floating point, by powers of two.
double value_of(unsigned bits) {
  const int exponent = static_cast<int>(bits >> 3 & 15), fraction = static_cast<int>(bits & 7);
  const double magnitude = exponent == 0 ? std::ldexp(fraction, -9) : std::ldexp(8 + fraction, exponent - 10);
  return bits >> 7 != 0 ? -magnitude : magnitude;
}

TEST(F8E4M3, EveryStoredValueIsItsDefinitionAndSurvivesTheRoundTrip) {
  for (unsigned bits = 0; bits < 256; ++bits) {
    const F8E4M3 x{static_cast<std::uint8_t>(bits)};
    const float value = to_float(x);
    ASSERT_EQ(std::signbit(value), bits >= 0x80) << bits;
    if ((bits & 0x7f) == 0x7f) {
      ASSERT_TRUE(std::isnan(value)) << bits;
    } else {
      ASSERT_EQ(static_cast<double>(value), value_of(bits)) << bits;
    }
    ASSERT_EQ(to_f8_e4m3(value), x) << bits;
  }
}

TEST(F8E4M3, RoundsToTheNearestTiesToEvenAndSaturates) {
  const auto round = [](double x) { return unsigned{to_f8_e4m3(static_cast<float>(x)).bits}; };
  for (unsigned bits = 0; bits < 0x7e; ++bits) {
    const double low = value_of(bits), high = value_of(bits + 1), middle = (low + high) / 2;
    ASSERT_EQ(round(low + (high - low) * 0.49), bits);
    ASSERT_EQ(round(low + (high - low) * 0.51), bits + 1);
    ASSERT_EQ(round(middle), bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(round(-middle), 0x80 + (bits % 2 == 0 ? bits : bits + 1));
  }
  EXPECT_EQ(round(448), 0x7eU);
  EXPECT_EQ(round(1e30), 0x7eU);
  EXPECT_EQ(round(-std::numeric_limits<double>::infinity()), 0xfeU);
}

}  // namespace
}  // namespace moebius
