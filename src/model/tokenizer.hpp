// SPDX-License-Identifier: Apache-2.0
#pragma once
// Text to tokens and back, for BPE tokenizers, token by token as the Hugging Face tokenizers library (0.23)
// does it: added tokens are cut out of the raw text, the rest is normalised, added tokens with
// `normalized` are cut out of that, what is left is pre-tokenized and merged. Pieces are bytes (byte-level
// BPE) or characters with bytes to fall back on (as SentencePiece makes them).
// Made once per rank from what `io` read; const afterwards, and one object may serve several threads.
//
// Unicode data is ICU's; a character that a newer Unicode version assigned may be split differently.
// With byte-level pieces and without a normaliser decode(encode(text)) is the text, byte by byte, for
// every valid UTF-8 text, as long as the vocabulary has all 256 bytes and no lstrip/rstrip token swallows
// white space.

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tokenizer_spec.hpp"
#include "model/added_tokens.hpp"
#include "model/bpe.hpp"
#include "model/normalizer.hpp"
#include "model/pre_tokenizer.hpp"
#include "model/utf8.hpp"

namespace moebius::model {

/// Whether encoding adds what the post-processor adds around a text (BOS, ...).
enum class AddSpecial : std::uint8_t { no, yes };
/// Whether decoding leaves special tokens out.
enum class SkipSpecial : std::uint8_t { no, yes };

class Tokenizer {
 public:
  /// Longest text in bytes; ICU counts in 32 bits.
  static constexpr std::size_t max_text_bytes = std::size_t{1} << 30;

  /// Throws Failure(unreadable_input) where the parts of the spec do not fit together.
  explicit Tokenizer(TokenizerSpec spec);

  /// Ill-formed parts of `text` are read as U+FFFD (utf8_lossy). At most max_text_bytes.
  [[nodiscard]] std::vector<TokenId> encode(std::string_view text, AddSpecial special) const;
  /// Ids outside the vocabulary add nothing; bytes that are no UTF-8 become U+FFFD. Where pieces are
  /// characters, the text of "_Hello" may begin without the space (DecoderSpec::num_leading_spaces).
  [[nodiscard]] std::string decode(std::span<const TokenId> tokens, SkipSpecial skip) const;

  /// One more than the largest id.
  [[nodiscard]] int vocab_size() const { return static_cast<int>(bytes_.size()); }
  /// The bytes a token stands for, often a part of a character; empty for an unknown id.
  [[nodiscard]] const std::string& token_bytes(TokenId token) const;
  /// A special token, which generated text leaves out; false for an unknown id.
  [[nodiscard]] bool is_special(TokenId token) const;

 private:
  friend class StreamDecoder;
  struct Resolved {};
  Tokenizer(TokenizerSpec spec, Resolved);
  void encode_part(std::string_view text, TextPlace place, PreTokenizer::Run& run, const PieceSink& merge,
                   std::vector<TokenId>& out) const;
  void set_text_of(TokenId token, const std::string& content, const TokenizerSpec& spec);

  Normalizer normalizer_;
  AddedTokenMatcher raw_tokens_, normalized_tokens_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
  std::vector<TokenId> prefix_, suffix_;
  bool byte_level_;
  int num_leading_spaces_;
  std::vector<std::string> bytes_;          // [vocab_size]
  std::vector<std::uint8_t> is_special_;    // [vocab_size]
  std::vector<std::uint8_t> is_raw_byte_;   // [vocab_size] a byte of the fallback, where pieces are characters
  std::string no_bytes_;
};

/// Decodes tokens one by one: text comes out as soon as no later token can change it, so a character
/// that several tokens share appears whole. All that push and finish return, joined, is decode of all.
/// A value without a tokenizer inside: every call gets the same one.
class StreamDecoder {
 public:
  /// The text that became certain with this token.
  std::string push(const Tokenizer& tokenizer, TokenId token, SkipSpecial skip);
  /// What the bytes that wait would be if nothing came behind them; empty while they end within a
  /// character. A stop string may be looked for in it, since no text need follow.
  [[nodiscard]] std::string_view pending(const Tokenizer& tokenizer) const;
  /// What is left: U+FFFD for characters that were not completed. The decoder begins anew.
  std::string finish(const Tokenizer& tokenizer);

 private:
  /// Takes the leading spaces off that the text has to lose still.
  void strip(const Tokenizer& tokenizer, std::string& text);

  std::string waiting_;       ///< byte-level: at most three bytes; otherwise a run of byte tokens
  int num_stripped_ = 0;      ///< leading spaces taken off
  bool inside_text_ = false;  ///< something else than a space has come out
};

}  // namespace moebius::model
