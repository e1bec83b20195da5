// SPDX-License-Identifier: Apache-2.0
// Against the tokenizers library 0.23: goldens of published styles, of the tiny model, and of the tiny
// model's tokenizer with options that it does not use itself.
#include "model/tokenizer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/failure.hpp"
#include "io/model_files.hpp"
#include "model/random_text.hpp"

namespace moebius::model {
namespace {

using Json = nlohmann::json;
using Tokens = std::vector<TokenId>;
using testing::below;
using testing::utf8_of;

const std::string source = MOEBIUS_SOURCE_DIR;
const std::string tiny_dir = source + "/inputs/models/tiny";
const std::string styles_dir = source + "/tests/data/goldens/tokenizers";

Json read_json(const std::string& path) {
  std::ifstream file(path);
  EXPECT_TRUE(file.good()) << path;
  return Json::parse(file);
}

std::string stream_decoded(const Tokenizer& tokenizer, const Tokens& tokens, SkipSpecial skip) {
  StreamDecoder decoder;
  std::string text;
  for (const TokenId token : tokens) text += decoder.push(tokenizer, token, skip);
  return text + decoder.finish(tokenizer);
}

/// `decoded` of a row belongs to its ids of that name.
std::size_t check_rows(const Tokenizer& tokenizer, const Json& rows, const char* decoded_ids = "ids") {
  for (const Json& row : rows) {
    const auto text = row.at("text").get<std::string>();
    const auto ids = row.at("ids").get<Tokens>();
    const auto decoded = row.at(decoded_ids).get<Tokens>();
    SCOPED_TRACE(row.at("text").dump());
    EXPECT_EQ(tokenizer.encode(text, AddSpecial::yes), ids);
    EXPECT_EQ(tokenizer.encode(text, AddSpecial::no), row.at("ids_without_special").get<Tokens>());
    EXPECT_EQ(tokenizer.decode(decoded, SkipSpecial::no), row.at("decoded").get<std::string>());
    EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::yes), row.at("decoded_skip_special").get<std::string>());
    EXPECT_EQ(stream_decoded(tokenizer, decoded, SkipSpecial::no), row.at("decoded").get<std::string>());
    EXPECT_EQ(stream_decoded(tokenizer, ids, SkipSpecial::yes), row.at("decoded_skip_special").get<std::string>());
  }
  return rows.size();
}

/// The changes that a group of tests/data/tokenizer_options_golden.json makes to a tokenizer.
void apply(const Json& options, TokenizerSpec& spec) {
  for (const Json& token : options.value("added_tokens", Json::array())) {
    spec.added_tokens.push_back({.id = token.at("id"),
                                 .content = token.at("content"),
                                 .single_word = token.at("single_word"),
                                 .lstrip = token.at("lstrip"),
                                 .rstrip = token.at("rstrip"),
                                 .normalized = token.at("normalized"),
                                 .special = token.at("special")});
  }
  if (options.contains("normalizer")) spec.normalizer = {{}};
  if (options.contains("split")) {
    spec.pre_tokenizer = {{.kind = PreTokenizerStep::Kind::split, .pattern = options.at("split")},
                          {.kind = PreTokenizerStep::Kind::byte_level, .pattern = "", .use_regex = false}};
  }
  spec.pre_tokenizer.back().add_prefix_space = options.value("add_prefix_space", false);
  spec.ignore_merges = options.value("ignore_merges", false);
  for (const Json& piece : options.value("vocab", Json::array())) {
    spec.vocab.emplace_back(piece.get<std::string>(), static_cast<TokenId>(spec.vocab.size()));
  }
  if (options.contains("template")) {
    spec.prefix_special_ids = options.at("template").at(0).get<Tokens>();
    spec.suffix_special_ids = options.at("template").at(1).get<Tokens>();
  }
}

TEST(TokenizerGolden, published_styles) {
  for (const std::string style : {"qwen", "olmoe", "llama3", "mixtral", "deepseek"}) {
    SCOPED_TRACE(style);
    const Tokenizer tokenizer(io::read_tokenizer(styles_dir + "/" + style));
    EXPECT_GT(check_rows(tokenizer, read_json(styles_dir + "/" + style + "/golden.json"), "ids_without_special"), 37U);
  }
}

TEST(TokenizerGolden, tiny_model) {
  const Tokenizer tokenizer(io::read_tokenizer(tiny_dir));
  EXPECT_EQ(tokenizer.vocab_size(), 4096);
  EXPECT_GT(check_rows(tokenizer, read_json(source + "/tests/data/tokenizer_tiny_golden.json")), 60U);
}

TEST(TokenizerGolden, options) {
  const TokenizerSpec tiny = io::read_tokenizer(tiny_dir);
  std::size_t num_rows = 0;
  for (const Json& group : read_json(source + "/tests/data/tokenizer_options_golden.json")) {
    SCOPED_TRACE(group.at("name"));
    TokenizerSpec spec = tiny;
    apply(group, spec);
    num_rows += check_rows(Tokenizer(spec), group.at("rows"));
  }
  EXPECT_GT(num_rows, 150U);
}

/// Files of published styles with parts replaced, through the reader.
TEST(TokenizerGolden, variants) {
  std::size_t num_rows = 0, num_decoded = 0;
  const std::string dir = ::testing::TempDir() + "tokenizer_variants";
  std::filesystem::create_directories(dir);
  for (const Json& group : read_json(source + "/tests/data/tokenizer_variants_golden.json")) {
    SCOPED_TRACE(group.at("base").get<std::string>() + ", " + group.at("name").get<std::string>());
    Json file = read_json(styles_dir + "/" + group.at("base").get<std::string>() + "/tokenizer.json");
    file.merge_patch(group.at("patch"));
    std::ofstream(dir + "/tokenizer.json") << file;
    const Tokenizer tokenizer(io::read_tokenizer(dir));
    num_rows += check_rows(tokenizer, group.at("rows"));
    for (const Json& row : group.at("decoded")) {
      SCOPED_TRACE(row.dump());
      const auto ids = row.at("ids").get<Tokens>();
      EXPECT_EQ(tokenizer.decode(ids, SkipSpecial::no), row.at("decoded").get<std::string>());
      EXPECT_EQ(stream_decoded(tokenizer, ids, SkipSpecial::yes), row.at("decoded_skip_special").get<std::string>());
      ++num_decoded;
    }
  }
  EXPECT_GE(num_rows, 280U);
  EXPECT_GE(num_decoded, 400U);
}

/// Text of mixed scripts with rare characters, valid UTF-8, from a seed.
std::string random_text(std::mt19937& random) {
  std::string text;
  for (unsigned i = below(random, 60); i > 0; --i) {
    char32_t c = 0;
    switch (below(random, 6)) {
      case 0: c = below(random, 0x80); break;
      case 1: c = U" \n\t'\u00a0\u3000\u0301\u200d<|>"[below(random, 11)]; break;
      case 2: c = below(random, 0x800); break;
      case 3: c = 0x3000 + below(random, 0x6000); break;
      case 4: c = below(random, 0x110000); break;
      default: c = U"etaoins rhld"[below(random, 12)]; break;
    }
    text += utf8_of(c >= 0xd800 && c < 0xe000 ? U'?' : c);
  }
  return text;
}

TEST(Tokenizer, valid_text_comes_back_byte_by_byte) {
  TokenizerSpec split = io::read_tokenizer(styles_dir + "/qwen");
  split.normalizer.clear();
  for (const TokenizerSpec& spec : {io::read_tokenizer(tiny_dir), split}) {
    const Tokenizer tokenizer(spec);
    for (unsigned seed = 1; seed <= 3000; ++seed) {
      std::mt19937 random(seed);
      const std::string text = random_text(random);
      const Tokens tokens = tokenizer.encode(text, AddSpecial::no);
      ASSERT_EQ(tokenizer.decode(tokens, SkipSpecial::no), text) << "seed " << seed;
      ASSERT_EQ(stream_decoded(tokenizer, tokens, SkipSpecial::no), text) << "seed " << seed;
    }
  }
}

TEST(Tokenizer, random_bytes_are_read_as_their_repaired_text) {
  for (const std::string& dir : {tiny_dir, styles_dir + "/qwen"}) {
    const Tokenizer tokenizer(io::read_tokenizer(dir));
    for (unsigned seed = 1; seed <= 2000; ++seed) {
      std::mt19937 random(seed);
      std::string bytes;
      for (unsigned i = below(random, 80); i > 0; --i) {
        bytes += static_cast<char>(below(random, 3) == 0 ? below(random, 256) : 0x60 + below(random, 0x60));
      }
      const Tokens tokens = tokenizer.encode(bytes, AddSpecial::yes);
      ASSERT_EQ(tokens, tokenizer.encode(utf8_lossy(bytes), AddSpecial::yes)) << "seed " << seed;
      for (const TokenId token : tokens) ASSERT_FALSE(tokenizer.token_bytes(token).empty());
    }
  }
}

TEST(Tokenizer, random_tokens_decode_alike_at_once_and_as_a_stream) {
  const Tokenizer tokenizer(io::read_tokenizer(tiny_dir));
  std::mt19937 random(23);
  for (int round = 0; round < 2000; ++round) {
    Tokens tokens;
    std::string bytes;
    for (unsigned i = below(random, 20); i > 0; --i) {
      tokens.push_back(static_cast<TokenId>(below(random, below(random, 2) == 0 ? 300 : 4100)));
      bytes += tokenizer.token_bytes(tokens.back());
    }
    const std::string text = tokenizer.decode(tokens, SkipSpecial::no);
    ASSERT_EQ(text, utf8_lossy(bytes));
    ASSERT_EQ(stream_decoded(tokenizer, tokens, SkipSpecial::no), text);
    ASSERT_EQ(stream_decoded(tokenizer, tokens, SkipSpecial::yes), tokenizer.decode(tokens, SkipSpecial::yes));
  }
}

TEST(Tokenizer, a_long_line_takes_bounded_time) {
  // Anything quadratic takes minutes here; a line takes about half a second.
  const std::size_t size = 1 << 20;
  const auto check = [](const Tokenizer& tokenizer, const std::string& line) {
    const auto start = std::chrono::steady_clock::now();
    const Tokens tokens = tokenizer.encode(line, AddSpecial::no);
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(tokenizer.decode(tokens, SkipSpecial::no), line);
    EXPECT_LT(elapsed.count(), 30.0) << line.substr(0, 10);
  };
  std::string words, cjk;
  while (words.size() < size) words += "theandofinging";
  while (cjk.size() < size) cjk += "\u65e5\u672c\u8a9e";
  const Tokenizer scanned(io::read_tokenizer(tiny_dir));
  for (const std::string& line : {std::string(size, ' '), std::string(size, '<'), words, cjk}) check(scanned, line);
  const Tokenizer whole(io::read_tokenizer(styles_dir + "/mixtral"));  // one piece, without a pre-tokenizer
  for (const std::string& line : {std::string(size, ' '), std::string(size, 'e'), words, cjk}) check(whole, line);
  const Tokenizer by_regex(io::read_tokenizer(styles_dir + "/qwen"));
  for (const std::string& line : {std::string(size, 'a'), std::string(size, ' ') + "x", std::string(size, '\n')}) check(by_regex, line);
}

TEST(Tokenizer, knows_bytes_and_special_tokens) {
  const Tokenizer tokenizer(io::read_tokenizer(tiny_dir));
  const Tokens tokens = tokenizer.encode(" the", AddSpecial::no);
  ASSERT_EQ(tokens.size(), 1U);
  EXPECT_EQ(tokenizer.token_bytes(tokens[0]), " the");
  EXPECT_EQ(tokenizer.token_bytes(0), "<|endoftext|>");
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_FALSE(tokenizer.is_special(tokens[0]));
  for (const TokenId unknown : {-1, 4096, std::numeric_limits<TokenId>::max(), std::numeric_limits<TokenId>::min()}) {
    EXPECT_EQ(tokenizer.token_bytes(unknown), "");
    EXPECT_FALSE(tokenizer.is_special(unknown));
    EXPECT_EQ(tokenizer.decode(Tokens{tokens[0], unknown}, SkipSpecial::no), " the");
  }
}

TEST(StreamDecoder, gives_a_character_when_its_last_byte_is_there) {
  const Tokenizer tokenizer(io::read_tokenizer(tiny_dir));
  const Tokens tokens = tokenizer.encode("\U0001f389", AddSpecial::no);
  ASSERT_EQ(tokens.size(), 4U) << "this test wants a character of several tokens";
  StreamDecoder decoder;
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(decoder.push(tokenizer, tokens[i], SkipSpecial::yes), "");
  EXPECT_EQ(decoder.push(tokenizer, 0, SkipSpecial::yes), "") << "a special token is left out";
  EXPECT_EQ(decoder.pending(tokenizer), "") << "three bytes are no character";
  EXPECT_EQ(decoder.push(tokenizer, tokens[3], SkipSpecial::yes), "\U0001f389");
  EXPECT_EQ(decoder.push(tokenizer, tokens[0], SkipSpecial::yes), "");
  EXPECT_EQ(decoder.finish(tokenizer), "\ufffd");
  EXPECT_EQ(decoder.finish(tokenizer), "");
}

TEST(StreamDecoder, bytes_of_the_fallback_wait_for_the_end_of_their_run) {
  const Tokenizer tokenizer(io::read_tokenizer(styles_dir + "/mixtral"));
  const Tokens euro = {3 + 0xe2, 3 + 0x82, 3 + 0xac};  // "<0x00>" has id 3
  const Tokens word = tokenizer.encode("a", AddSpecial::no);
  ASSERT_EQ(tokenizer.token_bytes(word[0]), " a");
  StreamDecoder decoder;
  for (const TokenId token : euro) EXPECT_EQ(decoder.push(tokenizer, token, SkipSpecial::yes), "");
  EXPECT_EQ(decoder.pending(tokenizer), "\u20ac") << "the text, should nothing come behind it";
  EXPECT_EQ(decoder.push(tokenizer, word[0], SkipSpecial::yes), "\u20ac a");
  EXPECT_EQ(decoder.pending(tokenizer), "");
  decoder = {};
  for (const TokenId token : {euro[0], euro[1]}) EXPECT_EQ(decoder.push(tokenizer, token, SkipSpecial::yes), "");
  EXPECT_EQ(decoder.pending(tokenizer), "");
  EXPECT_EQ(decoder.push(tokenizer, word[0], SkipSpecial::yes), "\ufffd\ufffd a") << "one for each byte";
  EXPECT_EQ(decoder.finish(tokenizer), "");
  EXPECT_EQ(decoder.push(tokenizer, word[0], SkipSpecial::yes), "a") << "a new text loses its first space";
}

TEST(Tokenizer, the_vocabulary_decides_about_the_id_of_an_added_token) {
  TokenizerSpec spec = io::read_tokenizer(tiny_dir);
  spec.added_tokens[0].id = 77;
  const Tokenizer tokenizer(spec);
  EXPECT_EQ(tokenizer.encode("<|endoftext|>", AddSpecial::no), Tokens{0});
  EXPECT_TRUE(tokenizer.is_special(0));
  EXPECT_FALSE(tokenizer.is_special(77));
}

TEST(Tokenizer, refuses_a_spec_that_does_not_fit_together) {
  const TokenizerSpec good = io::read_tokenizer(tiny_dir);
  TokenizerSpec spec = good;
  spec.added_tokens.push_back({.id = 4096, .content = ""});
  EXPECT_THROW(Tokenizer{spec}, Failure);
  spec = good;
  spec.added_tokens.push_back({.id = -1, .content = "<x>"});
  EXPECT_THROW(Tokenizer{spec}, Failure);
  spec = good;
  spec.pre_tokenizer.clear();
  EXPECT_THROW(Tokenizer{spec}, Failure);
  spec = good;
  spec.byte_level = false;
  EXPECT_THROW(Tokenizer{spec}, Failure);
  spec = good;
  spec.merges.emplace_back("no such", "piece");
  EXPECT_THROW(Tokenizer{spec}, Failure);
}

}  // namespace
}  // namespace moebius::model
