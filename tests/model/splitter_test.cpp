// SPDX-License-Identifier: Apache-2.0
// regex_splitter, gpt2_splitter and pre_tokenizer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/failure.hpp"
#include "model/gpt2_splitter.hpp"
#include "model/pre_tokenizer.hpp"
#include "model/random_text.hpp"
#include "model/regex_splitter.hpp"

namespace moebius::model {
namespace {

using ::testing::ElementsAre;
using testing::below;
using testing::utf8_of;
using Pieces = std::vector<std::string>;

const std::string gpt2_pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

Pieces regex_pieces(RegexSplitter::Matcher& matcher, std::string_view text) {
  Pieces pieces;
  matcher.split(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}
Pieces regex_pieces(const std::string& pattern, std::string_view text) {
  const RegexSplitter splitter(pattern);
  RegexSplitter::Matcher matcher(splitter);
  return regex_pieces(matcher, text);
}
Pieces gpt2_pieces(std::string_view text) {
  Pieces pieces;
  split_as_gpt2(text, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

TEST(RegexSplitter, matches_and_gaps_are_pieces) {
  EXPECT_THAT(regex_pieces("b+", "abbcb"), ElementsAre("a", "bb", "c", "b"));
  EXPECT_THAT(regex_pieces("b+", ""), ElementsAre());
  EXPECT_THAT(regex_pieces("b*", "ab"), ElementsAre("a", "b")) << "empty matches are no pieces";
  EXPECT_THAT(regex_pieces(R"(\p{N}{1,3})", "x12345\u0663"), ElementsAre("x", "123", "45\u0663"));
  EXPECT_THAT(regex_pieces("\U0001f389", "\u65e5\U0001f389\u672c\U0001f389"),
              ElementsAre("\u65e5", "\U0001f389", "\u672c", "\U0001f389"));
}

TEST(RegexSplitter, patterns_are_translated) {
  EXPECT_EQ(icu_pattern(R"(\s+|[^\s\p{L}]\S)"), R"([\p{White_Space}]+|[^\p{White_Space}\p{L}][\P{White_Space}])");
  EXPECT_EQ(icu_pattern(R"(\\s\[\s])"), R"(\\s\[[\p{White_Space}]])");
  EXPECT_EQ(icu_pattern(R"([\]\s]\s)"), R"([\]\p{White_Space}][\p{White_Space}])");
  EXPECT_THAT(regex_pieces("^b.", "b\nb\rbc"), ElementsAre("b\n", "b\r", "bc")) << "line borders as in Ruby";
}

TEST(RegexSplitter, white_space_is_the_unicode_property) {
  const std::u32string expected = U"\t\n\v\f\r \u0085\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008"
                                  U"\u2009\u200a\u2028\u2029\u202f\u205f\u3000";
  const RegexSplitter inside("[\\s]"), outside("\\s"), negated("<\\S");
  RegexSplitter::Matcher in(inside), out(outside), not_in(negated);
  std::u32string found;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    // Between two characters that do not match, a match makes three pieces.
    const std::string text = std::string("<").append(utf8_of(c)).append(">");
    const bool is_space = regex_pieces(out, text).size() == 3;
    if (is_space) found += c;
    if (c > 0x3100) continue;  // the other spellings, where the property lives
    ASSERT_EQ(regex_pieces(in, text).size() == 3, is_space) << std::hex << static_cast<std::uint32_t>(c);
    ASSERT_EQ(regex_pieces(not_in, text).size() == 2, !is_space) << std::hex << static_cast<std::uint32_t>(c);
  }
  EXPECT_EQ(found, expected);
}

TEST(RegexSplitter, a_pattern_that_cannot_be_compiled_is_named) {
  try {
    const RegexSplitter splitter("(unclosed");
    FAIL() << "compiled";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), ExitCode::unreadable_input);
    EXPECT_THAT(failure.what(), ::testing::HasSubstr("(unclosed"));
  }
}

TEST(RegexSplitter, a_megabyte_of_one_kind_of_character_is_one_piece) {
  const std::string spaces(1 << 20, ' '), letters(1 << 20, 'a');
  EXPECT_EQ(regex_pieces(gpt2_pattern, spaces).size(), 1U);
  EXPECT_EQ(regex_pieces(gpt2_pattern, letters).size(), 1U);
  EXPECT_EQ(regex_pieces(R"((?:ab)+)", std::string(1 << 10, 'c') + "abab").size(), 2U);
}

TEST(Gpt2Splitter, golden) {
  EXPECT_THAT(gpt2_pieces("Hello world, it's 3pm!"), ElementsAre("Hello", " world", ",", " it", "'s", " 3", "pm", "!"));
}

TEST(Gpt2Splitter, golden_details) {
  EXPECT_THAT(gpt2_pieces("a  b"), ElementsAre("a", " ", " b"));
  EXPECT_THAT(gpt2_pieces("a \n b"), ElementsAre("a", " \n", " b"));
  EXPECT_THAT(gpt2_pieces("a\n\nb"), ElementsAre("a", "\n", "\n", "b"));
  EXPECT_THAT(gpt2_pieces("a  "), ElementsAre("a", "  "));
  EXPECT_THAT(gpt2_pieces("we'll 'LL"), ElementsAre("we", "'ll", " '", "LL"));
  EXPECT_THAT(gpt2_pieces("''s"), ElementsAre("''", "s"));
  EXPECT_THAT(gpt2_pieces(" \u00bd1 .\u0301"), ElementsAre(" \u00bd1", " .\u0301"));
  EXPECT_THAT(gpt2_pieces("'"), ElementsAre("'"));
  EXPECT_THAT(gpt2_pieces("\u3000\u65e5"), ElementsAre("\u3000", "\u65e5"));
}

TEST(Gpt2Splitter, equals_the_pattern_on_code_points) {
  const RegexSplitter splitter(gpt2_pattern);
  RegexSplitter::Matcher matcher(splitter);
  for (char32_t c = 0; c < 0x110000; ++c) {
    if ((c >= 0xd800 && c < 0xe000) || (c > 0x3400 && c % 64 != 0)) continue;
    const std::string x = utf8_of(c);
    const std::string text = "a" + x + "1" + x + "." + x + " " + x + "  " + x + x + "\n";
    ASSERT_EQ(gpt2_pieces(text), regex_pieces(matcher, text)) << std::hex << static_cast<std::uint32_t>(c);
  }
}

TEST(Gpt2Splitter, equals_the_pattern_on_random_text) {
  const RegexSplitter splitter(gpt2_pattern);
  RegexSplitter::Matcher matcher(splitter);
  std::mt19937 random(17);
  const Pieces atoms = {"a",      "Z",  "s",      "t",      "re", "ve",     "m", "ll", "d", "'", "'", " ", " ", "  ", "\n",
                        "\r\n",   "\t", "\u00a0", "\u3000", "1",  "\u00b2", ".", "-",  "$", "_", "\u0301", "\u65e5", "\U0001f389"};
  for (int round = 0; round < 20000; ++round) {
    std::string text;
    for (unsigned i = below(random, 14); i > 0; --i) text += atoms[below(random, static_cast<unsigned>(atoms.size()))];
    ASSERT_EQ(gpt2_pieces(text), regex_pieces(matcher, text)) << "'" << text << "'";
  }
}

Pieces pre_tokenized(const PreTokenizer& pre_tokenizer, std::string_view text, TextPlace place = TextPlace::at_start) {
  Pieces pieces;
  PreTokenizer::Run run(pre_tokenizer);
  run.split(text, place, [&](std::string_view piece) { pieces.emplace_back(piece); });
  return pieces;
}

constexpr auto split = PreTokenizerStep::Kind::split;
constexpr auto byte_level = PreTokenizerStep::Kind::byte_level;
constexpr auto metaspace = PreTokenizerStep::Kind::metaspace;

TEST(PreTokenizer, steps_work_on_the_pieces_of_the_steps_before) {
  const PreTokenizer chain({{.kind = split, .pattern = "[\\r\\n]"},
                            {.kind = split, .pattern = "\\s?\\p{L}+"},
                            {.kind = byte_level, .pattern = "", .use_regex = false}});
  EXPECT_THAT(pre_tokenized(chain, "ab cd\n 12 ef"), ElementsAre("ab", " cd", "\n", " 12", " ef"));
  const PreTokenizer spaced({{.kind = split, .pattern = "[0-9]"}, {.kind = byte_level, .pattern = "", .add_prefix_space = true}});
  EXPECT_THAT(pre_tokenized(spaced, "it's1 b"), ElementsAre(" it", "'s", " 1", " b"));
  EXPECT_THAT(pre_tokenized(spaced, ""), ElementsAre());
}

TEST(PreTokenizer, metaspace) {
  using Prepend = PreTokenizerStep::PrependScheme;
  const auto with = [](Prepend scheme, bool cut) {
    return PreTokenizer({{.kind = metaspace, .pattern = "", .prepend_scheme = scheme, .cut_at_spaces = cut}});
  };
  EXPECT_THAT(pre_tokenized(with(Prepend::always, true), "a  b "), ElementsAre("\u2581a", "\u2581", "\u2581b", "\u2581"));
  EXPECT_THAT(pre_tokenized(with(Prepend::always, false), "a b"), ElementsAre("\u2581a\u2581b"));
  EXPECT_THAT(pre_tokenized(with(Prepend::always, true), " a"), ElementsAre("\u2581a")) << "it has one already";
  EXPECT_THAT(pre_tokenized(with(Prepend::always, true), "a", TextPlace::inside), ElementsAre("\u2581a"));
  EXPECT_THAT(pre_tokenized(with(Prepend::first, true), "a b"), ElementsAre("\u2581a", "\u2581b"));
  EXPECT_THAT(pre_tokenized(with(Prepend::first, true), "a b", TextPlace::inside), ElementsAre("a", "\u2581b"));
  EXPECT_THAT(pre_tokenized(with(Prepend::never, true), "a b"), ElementsAre("a", "\u2581b"));
  const PreTokenizer then_split({{.kind = metaspace, .pattern = ""}, {.kind = split, .pattern = "[0-9]"}});
  EXPECT_THAT(pre_tokenized(then_split, "a1 2b"), ElementsAre("\u2581a", "1", "\u2581", "2", "b"));
}

TEST(PreTokenizer, steps_in_another_order_are_refused) {
  EXPECT_THROW(PreTokenizer({{.kind = byte_level, .pattern = ""}, {.kind = split, .pattern = "a"}}), Failure);
  EXPECT_THROW(PreTokenizer({{.kind = byte_level, .pattern = ""}, {.kind = byte_level, .pattern = ""}}), Failure);
  EXPECT_THROW(PreTokenizer({{.kind = split, .pattern = "a"}, {.kind = metaspace, .pattern = ""}}), Failure);
  EXPECT_THROW(PreTokenizer({{.kind = metaspace, .pattern = ""}, {.kind = byte_level, .pattern = ""}}), Failure);
}

}  // namespace
}  // namespace moebius::model
