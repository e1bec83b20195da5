// SPDX-License-Identifier: Apache-2.0
#include "model/utf8.hpp"

#include <gtest/gtest.h>

#include "model/random_text.hpp"

namespace moebius::model {
namespace {

using testing::below;
using testing::utf8_of;

const std::string bad = "\xef\xbf\xbd";  // U+FFFD

TEST(Utf8, lossy_golden) {
  EXPECT_EQ(utf8_lossy(""), "");
  EXPECT_EQ(utf8_lossy("plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\x89"), "plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x8e\x89");
  EXPECT_EQ(utf8_lossy("a\x80\x80z"), "a" + bad + bad + "z");
  EXPECT_EQ(utf8_lossy("\xc0\xaf"), bad + bad) << "overlong";
  EXPECT_EQ(utf8_lossy("\xe0\x80\xaf"), bad + bad + bad) << "overlong, three bytes";
  EXPECT_EQ(utf8_lossy("\xed\xa0\x80"), bad + bad + bad) << "surrogate";
  EXPECT_EQ(utf8_lossy("\xf4\x90\x80\x80"), bad + bad + bad + bad) << "above U+10FFFF";
  EXPECT_EQ(utf8_lossy("\xf0\x9f\x8e"), bad) << "a cut-off character is one part";
  EXPECT_EQ(utf8_lossy("\xf0\x9f\x8ez"), bad + "z");
  EXPECT_EQ(utf8_lossy("\xe2\x82\xe2\x82\xac"), bad + "\xe2\x82\xac");
  // The example of the Unicode standard, table 3-8.
  EXPECT_EQ(utf8_lossy("\x61\xf1\x80\x80\xe1\x80\xc2\x62\x80\x63\x80\xbf\x64"),
            "a" + bad + bad + bad + "b" + bad + "c" + bad + bad + "d");
}

TEST(Utf8, every_code_point_is_valid_and_no_surrogate) {
  for (std::uint32_t c = 0; c < 0x110000; ++c) {
    const std::string text = utf8_of(c);
    const bool is_surrogate = c >= 0xd800 && c < 0xe000;
    ASSERT_EQ(is_utf8(text), !is_surrogate) << std::hex << c;
    ASSERT_EQ(settled_utf8_bytes(text), text.size()) << std::hex << c;
    for (std::size_t cut = 1; cut < text.size() && !is_surrogate; ++cut) {
      ASSERT_FALSE(is_utf8(text.substr(0, cut)));
      ASSERT_EQ(settled_utf8_bytes(std::string("x").append(text, 0, cut)), 1U) << std::hex << c;
    }
  }
}

TEST(Utf8, settled_bytes_read_the_same_whatever_follows) {
  std::mt19937 random(11);
  const std::string alphabet("az\x80\xbf\xc2\xc3\xe0\xe2\xed\xf0\xf4\xff\xa0\x90", 14);
  for (int round = 0; round < 20000; ++round) {
    std::string head, tail;
    for (unsigned i = below(random, 7); i > 0; --i) head += alphabet[below(random, static_cast<unsigned>(alphabet.size()))];
    for (unsigned i = below(random, 5); i > 0; --i) tail += alphabet[below(random, static_cast<unsigned>(alphabet.size()))];
    const std::size_t settled = settled_utf8_bytes(head);
    ASSERT_LE(head.size() - settled, 3U);
    ASSERT_EQ(utf8_lossy(head.substr(0, settled)) + utf8_lossy(head.substr(settled) + tail), utf8_lossy(head + tail));
    ASSERT_EQ(is_utf8(head), utf8_lossy(head) == head);
  }
}

}  // namespace
}  // namespace moebius::model
