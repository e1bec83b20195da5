// SPDX-License-Identifier: Apache-2.0
#include "model/bpe.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "base/failure.hpp"
#include "model/random_text.hpp"

namespace moebius::model {
namespace {

using Tokens = std::vector<TokenId>;
using ::testing::ElementsAre;
using testing::below;

/// A vocabulary from its pieces, ids in order.
TokenizerSpec spec_of(const std::vector<std::string>& pieces, const std::vector<std::pair<std::string, std::string>>& merges) {
  TokenizerSpec spec;
  for (const auto& piece : pieces) spec.vocab.emplace_back(piece, static_cast<TokenId>(spec.vocab.size()));
  spec.merges = merges;
  return spec;
}

Tokens encode(const Bpe& bpe, std::string_view piece) {
  Tokens tokens = {-7};  // what stands there already stays
  bpe.encode(piece, tokens);
  EXPECT_EQ(tokens.front(), -7);
  tokens.erase(tokens.begin());
  return tokens;
}

TEST(Bpe, golden) {
  //                         0    1    2    3     4     5      6
  const Bpe bpe(spec_of({"a", "b", "c", "ab", "bc", "abc", "\u0120"}, {{"b", "c"}, {"a", "b"}, {"a", "bc"}}));
  EXPECT_THAT(encode(bpe, ""), ElementsAre());
  EXPECT_THAT(encode(bpe, "abc"), ElementsAre(5)) << "b c first, then a bc";
  EXPECT_THAT(encode(bpe, "ab"), ElementsAre(3));
  EXPECT_THAT(encode(bpe, "abab c"), ElementsAre(3, 3, 6, 2));
  EXPECT_THAT(encode(bpe, "cabcb"), ElementsAre(2, 5, 1));
  EXPECT_THAT(encode(bpe, "axb"), ElementsAre(3)) << "a byte without a token vanishes before merging";
}

TEST(Bpe, equal_ranks_merge_from_the_left) {
  const Bpe bpe(spec_of({"a", "aa", "aaaa"}, {{"a", "a"}, {"aa", "aa"}}));
  EXPECT_THAT(encode(bpe, "aaa"), ElementsAre(1, 0));
  EXPECT_THAT(encode(bpe, "aaaaaaa"), ElementsAre(2, 1, 0));
}

TEST(Bpe, ignore_merges_takes_a_piece_of_the_vocabulary_whole) {
  TokenizerSpec spec = spec_of({"a", "b", "ab", "\u0120ba", "\u0120", "\u65e5"}, {{"a", "b"}});
  EXPECT_THAT(encode(Bpe(spec), " ba"), ElementsAre(4, 1, 0));
  spec.ignore_merges = true;
  EXPECT_THAT(encode(Bpe(spec), " ba"), ElementsAre(3));
  EXPECT_THAT(encode(Bpe(spec), " bab"), ElementsAre(4, 1, 2));
}

TEST(Bpe, a_merge_outside_the_vocabulary_is_refused_by_number_and_name) {
  for (const auto& merge : {std::pair{"a", "x"}, std::pair{"x", "b"}, std::pair{"b", "a"}}) {
    try {
      const Bpe bpe(spec_of({"a", "b", "ab"}, {{"a", "b"}, merge}));
      FAIL() << "accepted";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::unreadable_input);
      EXPECT_THAT(failure.what(), ::testing::HasSubstr("merges[1]"));
    }
  }
}

/// The definition: merge the lowest rank, leftmost, one at a time.
Tokens plain_bpe(const TokenizerSpec& spec, std::string_view piece) {
  std::vector<std::string> symbols;
  for (const char c : piece) symbols.emplace_back(1, c);
  while (true) {
    std::size_t best_rank = spec.merges.size(), best_place = 0;
    for (std::size_t i = 0; i + 1 < symbols.size(); ++i) {
      for (std::size_t rank = 0; rank < best_rank; ++rank) {
        if (spec.merges[rank] == std::pair(symbols[i], symbols[i + 1])) {
          best_rank = rank;
          best_place = i;
        }
      }
    }
    if (best_rank == spec.merges.size()) break;
    symbols[best_place] += symbols[best_place + 1];
    symbols.erase(symbols.begin() + static_cast<std::ptrdiff_t>(best_place) + 1);
  }
  std::map<std::string, TokenId> ids(spec.vocab.begin(), spec.vocab.end());
  Tokens tokens;
  for (const auto& symbol : symbols) tokens.push_back(ids.at(symbol));
  return tokens;
}

/// Random merges of pieces that exist, so that there are chains, overlaps and two ways to one piece.
TokenizerSpec random_spec(std::mt19937& random) {
  std::vector<std::string> pieces = {"a", "b", "c"};
  std::vector<std::pair<std::string, std::string>> merges;
  for (int i = 0; i < 25; ++i) {
    const std::string left = pieces[random() % pieces.size()], right = pieces[random() % pieces.size()];
    if (left.size() + right.size() > 8 || std::find(merges.begin(), merges.end(), std::pair(left, right)) != merges.end()) continue;
    merges.emplace_back(left, right);
    if (std::find(pieces.begin(), pieces.end(), left + right) == pieces.end()) pieces.push_back(left + right);
  }
  return spec_of(pieces, merges);
}

TEST(Bpe, scan_and_heap_equal_the_definition) {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    const TokenizerSpec spec = random_spec(random);
    const Bpe bpe(spec);
    for (int round = 0; round < 30; ++round) {
      std::string piece;
      for (unsigned i = below(random, 70); i > 0; --i) piece += "abc"[below(random, 3)];
      const Tokens expected = plain_bpe(spec, piece);
      Tokens by_scan, by_heap;
      bpe.append_symbols(piece, by_scan);
      by_heap = by_scan;
      by_scan.resize(bpe.merge_by_scan(by_scan));
      by_heap.resize(bpe.merge_by_heap(by_heap));
      ASSERT_EQ(by_scan, expected) << "seed " << seed << " " << piece;
      ASSERT_EQ(by_heap, expected) << "seed " << seed << " " << piece;
      ASSERT_EQ(encode(bpe, piece), expected);
    }
  }
}

TEST(Bpe, pieces_of_characters) {
  //                             0        1    2         3              4          5          6
  TokenizerSpec spec = spec_of({"<unk>", "a", "\u65e5", "a\u65e5", "<0xC3>", "<0xA9>", "<0xC3><0xA9>"}, {{"a", "\u65e5"}});
  spec.byte_level = false;
  EXPECT_THAT(encode(Bpe(spec), "xa\u65e5\u00e9a"), ElementsAre(3, 1)) << "what is unknown vanishes";
  spec.unknown_token = 0;
  EXPECT_THAT(encode(Bpe(spec), "xya\u65e5x"), ElementsAre(0, 0, 3, 0));
  spec.fuse_unknown = true;
  EXPECT_THAT(encode(Bpe(spec), "xya\u65e5xy"), ElementsAre(0, 3, 0));
  spec.byte_fallback = true;
  EXPECT_THAT(encode(Bpe(spec), "a\u00e9x"), ElementsAre(1, 4, 5, 0)) << "no bytes for x";
  spec.merges.emplace_back("<0xC3>", "<0xA9>");
  EXPECT_THAT(encode(Bpe(spec), "a\u00e9"), ElementsAre(1, 6)) << "bytes merge by their names";
}

TEST(Bpe, a_long_piece_is_cut_only_where_no_merge_joins) {
  for (unsigned seed = 1; seed <= 60; ++seed) {
    std::mt19937 random(seed);
    TokenizerSpec spec = random_spec(random);
    spec.merges.resize(spec.merges.size() / 3);  // few seams, so that there are cuts
    for (const bool byte_level : {true, false}) {
      spec.byte_level = byte_level;
      const Bpe bpe(spec);
      std::string piece;
      for (int i = 0; i < 300; ++i) piece += "abc"[below(random, 3)];
      Tokens whole;
      bpe.append_symbols(piece, whole);
      whole.resize(bpe.merge_by_heap(whole));
      ASSERT_EQ(encode(bpe, piece), whole) << "seed " << seed << " " << piece;
    }
  }
}

TEST(Bpe, seams_are_the_borders_inside_merges) {
  //                             0    1    2         3      4     5           6
  TokenizerSpec spec = spec_of({"a", "b", "\u2581", "ab", "\u2581ab", "<0x0A>", "\u2581ab<0x0A>"},
                               {{"a", "b"}, {"\u2581", "ab"}, {"\u2581ab", "<0x0A>"}});
  spec.byte_level = false;
  spec.byte_fallback = true;
  const Bpe bpe(spec);
  for (const auto& [left, right] : {std::pair{0, 1}, {2, 0}, {1, 5}}) EXPECT_TRUE(bpe.may_join(left, right)) << left << " " << right;
  for (const auto& [left, right] : {std::pair{1, 0}, {1, 2}, {0, 2}, {2, 1}, {5, 2}, {5, 0}}) {
    EXPECT_FALSE(bpe.may_join(left, right)) << left << " " << right;
  }
  std::string words;
  Tokens expected;
  for (int i = 0; i < 20; ++i) {
    words += "\u2581ab\n";
    expected.push_back(6);
  }
  EXPECT_EQ(encode(bpe, words), expected);
}

TEST(MergeTable, finds_what_was_inserted_and_nothing_else) {
  MergeTable table(500);
  for (TokenId i = 0; i < 500; ++i) table.insert(i % 23, i, {static_cast<std::uint32_t>(i), 1000 + i});
  for (TokenId i = 0; i < 500; ++i) {
    EXPECT_EQ(table.find(i % 23, i).rank, static_cast<std::uint32_t>(i));
    EXPECT_EQ(table.find(i % 23, i).token, 1000 + i);
    EXPECT_EQ(table.find(i % 23 + 1, i).rank, Merge::no_rank);
  }
  table.insert(0, 0, {7, 8});
  EXPECT_EQ(table.find(0, 0).rank, 7U) << "the later entry counts";
  EXPECT_EQ(MergeTable(0).find(1, 2).rank, Merge::no_rank);
}

}  // namespace
}  // namespace moebius::model
