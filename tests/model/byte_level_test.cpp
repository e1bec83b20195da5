// SPDX-License-Identifier: Apache-2.0
#include "model/byte_level.hpp"

#include <gtest/gtest.h>

#include <set>

namespace moebius::model {
namespace {

TEST(ByteLevel, golden) {
  const auto& alphabet = byte_level_alphabet();
  EXPECT_EQ(alphabet['a'], "a");
  EXPECT_EQ(alphabet['~'], "~");
  EXPECT_EQ(alphabet[' '], "\u0120");
  EXPECT_EQ(alphabet['\n'], "\u010a");
  EXPECT_EQ(alphabet[0], "\u0100");
  EXPECT_EQ(alphabet[0x7f], "\u0121");
  EXPECT_EQ(alphabet[0xa0], "\u0142");
  EXPECT_EQ(alphabet[0xad], "\u0143");
  EXPECT_EQ(alphabet[0xe9], "\u00e9");
  EXPECT_EQ(byte_level_bytes("\u0120caf\u00c3\u00a9"), " caf\xc3\xa9");
}

TEST(ByteLevel, every_byte_has_its_own_character_and_comes_back) {
  std::set<std::string> seen;
  for (int byte = 0; byte < 256; ++byte) {
    const std::string& character = byte_level_alphabet()[static_cast<std::size_t>(byte)];
    EXPECT_TRUE(seen.insert(character).second);
    EXPECT_EQ(byte_level_bytes(character), std::string(1, static_cast<char>(byte)));
  }
}

TEST(ByteLevel, characters_outside_the_alphabet_stand_for_nothing) {
  for (const char* text : {" ", "a b", "\u0144", "\u65e5", "\u00a0", "\u00ad", "a\n"}) {
    EXPECT_EQ(byte_level_bytes(text), std::nullopt) << text;
  }
  EXPECT_EQ(byte_level_bytes("\x80"), std::nullopt);
  EXPECT_EQ(byte_level_bytes(""), "");
}

}  // namespace
}  // namespace moebius::model
