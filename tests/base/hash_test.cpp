// SPDX-License-Identifier: Apache-2.0
#include "base/hash.hpp"

#include <gtest/gtest.h>

#include <string>

namespace moebius {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(Digest128, SumDoesNotDependOnOrderButOnEveryTerm) {
  const Digest128 a = xxh3_128(bytes_of("a")), b = xxh3_128(bytes_of("b")), c = xxh3_128(bytes_of("c"));
  Digest128 abc = a, cba = c, aab = a;
  abc += b;
  abc += c;
  cba += b;
  cba += a;
  aab += a;
  aab += b;
  EXPECT_EQ(abc, cba);
  EXPECT_NE(abc, aab);
}

TEST(Hash, SpellsHexWithLeadingZeros) {
  EXPECT_EQ(to_hex(std::uint64_t{0x0abc}), "0000000000000abc");
  EXPECT_EQ(to_hex(Digest128{.low = 1, .high = 2}), "00000000000000020000000000000001");
}

TEST(Hash, EmptyInputHasThePublishedValue) { EXPECT_EQ(to_hex(xxh3_64(std::string_view())), "2d06800538d394c2"); }

}  // namespace
}  // namespace moebius
