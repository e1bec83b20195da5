// SPDX-License-Identifier: Apache-2.0
#include "base/bf16.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace moebius {
namespace {

TEST(Bf16, EveryStoredValueSurvivesTheRoundTrip) {
  for (std::uint32_t bits = 0; bits <= 0xffff; ++bits) {
    const Bf16 x{static_cast<std::uint16_t>(bits)};
    if (std::isnan(to_float(x))) {
      EXPECT_TRUE(std::isnan(to_float(to_bf16(to_float(x)))));
    } else {
      ASSERT_EQ(to_bf16(to_float(x)), x) << bits;
    }
  }
}

TEST(Bf16, RoundsToNearestTiesToEven) {
  const float ulp = 0x1.0p-7F;  // distance of neighbours just above 1
  EXPECT_EQ(to_float(to_bf16(1.0F + 0.49F * ulp)), 1.0F);
  EXPECT_EQ(to_float(to_bf16(1.0F + 0.5F * ulp)), 1.0F);             // tie: 1 is even
  EXPECT_EQ(to_float(to_bf16(1.0F + 0.51F * ulp)), 1.0F + ulp);
  EXPECT_EQ(to_float(to_bf16(1.0F + 1.5F * ulp)), 1.0F + 2 * ulp);   // tie: 1 + ulp is odd
  EXPECT_EQ(to_float(to_bf16(-1.0F - 1.5F * ulp)), -1.0F - 2 * ulp);
}

TEST(Bf16, OverflowBecomesInfinityAndNanStaysNan) {
  EXPECT_TRUE(std::isinf(to_float(to_bf16(std::numeric_limits<float>::max()))));
  EXPECT_TRUE(std::isnan(to_float(to_bf16(std::numeric_limits<float>::signaling_NaN()))));
  EXPECT_EQ(to_bf16(-0.0F).bits, 0x8000);
}

}  // namespace
}  // namespace moebius
