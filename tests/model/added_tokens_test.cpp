// SPDX-License-Identifier: Apache-2.0
#include "model/added_tokens.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/check.hpp"
#include "model/random_text.hpp"

namespace moebius::model {
namespace {

using testing::below;

/// "text|[id]token|text": readable parts.
std::string shown(const AddedTokenMatcher& matcher, std::string_view text) {
  std::string result;
  for (const TextPart& part : matcher.split(text)) {
    if (!result.empty()) result += '|';
    if (part.token >= 0) result.append("[").append(std::to_string(part.token)).append("]");
    result += part.text;
  }
  return result;
}

TEST(AddedTokens, leftmost_then_longest) {
  const AddedTokenMatcher matcher({{.id = 1, .content = "<a"}, {.id = 2, .content = "<ab>"}, {.id = 3, .content = "b>"}});
  EXPECT_EQ(shown(matcher, ""), "");
  EXPECT_EQ(shown(matcher, "none"), "none");
  EXPECT_EQ(shown(matcher, "x<ab>y"), "x|[2]<ab>|y");
  EXPECT_EQ(shown(matcher, "<abb>"), "[1]<a|b|[3]b>");
  EXPECT_EQ(shown(matcher, "<<ab><ab>"), "<|[2]<ab>|[2]<ab>");
  EXPECT_EQ(shown(matcher, "<ab"), "[1]<a|b");
  EXPECT_EQ(shown(AddedTokenMatcher({}), "<ab>"), "<ab>");
}

TEST(AddedTokens, strip_swallows_white_space_once) {
  const AddedTokenMatcher matcher({{.id = 1, .content = "<l>", .lstrip = true},
                                   {.id = 2, .content = "<r>", .rstrip = true},
                                   {.id = 3, .content = "<n>"}});
  EXPECT_EQ(shown(matcher, "a \u3000<l> b"), "a|[1] \u3000<l>| b");
  EXPECT_EQ(shown(matcher, "a <r>\n\u00a0b"), "a |[2]<r>\n\u00a0|b");
  EXPECT_EQ(shown(matcher, "<r>  <l>"), "[2]<r>  |[1]<l>");
  EXPECT_EQ(shown(matcher, "  <n>  "), "  |[3]<n>|  ");
  EXPECT_EQ(shown(matcher, " <l>"), "[1] <l>");
}

TEST(AddedTokens, single_words) {
  const AddedTokenMatcher matcher({{.id = 1, .content = "<w>", .single_word = true}, {.id = 2, .content = "w>x"}});
  EXPECT_EQ(shown(matcher, "<w>"), "[1]<w>");
  EXPECT_EQ(shown(matcher, ".<w>-"), ".|[1]<w>|-");
  for (const std::string text : {"a<w>", "<w>a", "_<w>", "<w>7", "\u65e5<w>", "\u0301<w>", "<w>\u200d"}) {
    EXPECT_EQ(shown(matcher, text), text);
  }
  EXPECT_EQ(shown(matcher, "<w>x"), "<w>x") << "the search goes on behind the refused match";
}

TEST(AddedTokens, an_empty_token_is_refused) {
  EXPECT_THROW(AddedTokenMatcher({{.id = 1, .content = ""}}), ContractError);
}

TEST(AddedTokens, parts_join_to_the_text_and_match_the_plain_search) {
  std::mt19937 random(5);
  const std::vector<AddedToken> tokens = {{.id = 0, .content = "aa"}, {.id = 1, .content = "ab"}, {.id = 2, .content = "aba"},
                                          {.id = 3, .content = "ba"}, {.id = 4, .content = "bbbb"}};
  const AddedTokenMatcher matcher(tokens);
  for (int round = 0; round < 2000; ++round) {
    std::string text;
    for (unsigned i = below(random, 16); i > 0; --i) text += "abc"[below(random, 3)];
    std::vector<TokenId> expected, found;
    for (std::size_t pos = 0; pos < text.size();) {
      const AddedToken* best = nullptr;
      for (const AddedToken& token : tokens) {
        const bool longer = best == nullptr || token.content.size() > best->content.size();
        if (text.compare(pos, token.content.size(), token.content) == 0 && longer) best = &token;
      }
      if (best != nullptr) expected.push_back(best->id);
      pos += best != nullptr ? best->content.size() : 1;
    }
    std::string joined;
    for (const TextPart& part : matcher.split(text)) {
      joined += part.text;
      if (part.token >= 0) found.push_back(part.token);
    }
    ASSERT_EQ(joined, text);
    ASSERT_EQ(found, expected) << text;
  }
}

}  // namespace
}  // namespace moebius::model
