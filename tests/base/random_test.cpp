// SPDX-License-Identifier: Apache-2.0
#include "base/random.hpp"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <set>
#include <span>

namespace moebius {
namespace {

TEST(PhiloxUniform, IsAFunctionOfItsKeyAndDiffersInEachPart) {
  const double draw = philox_uniform(7, 11, 13);
  EXPECT_EQ(draw, philox_uniform(7, 11, 13));
  EXPECT_NE(draw, philox_uniform(8, 11, 13));
  EXPECT_NE(draw, philox_uniform(7, 12, 13));
  EXPECT_NE(draw, philox_uniform(7, 11, 14));
  EXPECT_NE(philox_uniform(1ULL << 40, 0, 0), philox_uniform(0, 0, 0));  // the high halves count
  EXPECT_NE(philox_uniform(0, 1ULL << 40, 0), philox_uniform(0, 0, 0));
}

// First counter of the known-answer vector "philox4x32 10" of the Random123 distribution: all zero
// counter and key give 6627e8d5 e169c58d bc57ac4c 9b00dbd8.
TEST(PhiloxUniform, MatchesThePublishedKnownAnswer) {
  const std::uint64_t bits = (0x6627e8d5ULL << 32 | 0xe169c58dULL) >> 11;
  EXPECT_EQ(philox_uniform(0, 0, 0), static_cast<double>(bits) * 0x1.0p-53);
}

TEST(PhiloxWords, AreThePublishedOnesAndAnyPartOfAStreamEqualsTheWhole) {
  std::array<std::uint32_t, 4> first{};
  philox_words(0, 0, 0, first);
  EXPECT_EQ(first, (std::array{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U}));
  std::array<std::uint32_t, 40> whole{}, part{};
  philox_words(5, 6, 0xffffffff - 3, whole);  // past the border of the counter's low half
  for (std::size_t draw = 0; draw < 10; ++draw) {
    philox_words(5, 6, 0xffffffff - 3 + draw, std::span(part).subspan(4 * draw, draw == 9 ? 3 : 4));
  }
  part[39] = whole[39];
  EXPECT_EQ(part, whole);
  EXPECT_EQ(std::set<std::uint32_t>(whole.begin(), whole.end()).size(), 40U);
  philox_words(5, 7, 0xffffffff - 3, part);
  EXPECT_NE(part, whole);
}

TEST(PhiloxUniform, LooksUniform) {
  std::array<int, 16> bins{};
  constexpr int num_draws = 160000;
  for (int i = 0; i < num_draws; ++i) {
    const double draw = philox_uniform(3, static_cast<std::uint64_t>(i / 100), static_cast<std::uint32_t>(i % 100));
    ASSERT_GE(draw, 0.0);
    ASSERT_LT(draw, 1.0);
    ++bins[static_cast<std::size_t>(draw * 16)];
  }
  double chi2 = 0;
  for (const int count : bins) chi2 += (count - num_draws / 16.0) * (count - num_draws / 16.0) / (num_draws / 16.0);
  EXPECT_LT(chi2, 45.0);  // 15 degrees of freedom; 1 in 10^4 by chance, and the draws are fixed
}

}  // namespace
}  // namespace moebius
