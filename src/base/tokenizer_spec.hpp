// SPDX-License-Identifier: Apache-2.0
#pragma once
// tokenizer.json as plain data: `io` reads it, `model::Tokenizer` runs it.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/ids.hpp"

namespace moebius {

struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool single_word = false, lstrip = false, rstrip = false, normalized = false, special = false;
};

/// A string and what stands in its place.
struct Replacement {
  std::string from, to;
};

/// One step of the normaliser, applied in order.
struct NormalizerStep {
  enum class Kind : std::uint8_t {
    nfc,
    prepend,  ///< put `replacement.to` before a text that is not empty
    replace,  ///< every `replacement.from`, from the left, without overlap
  };
  Kind kind = Kind::nfc;
  Replacement replacement;
};

/// One step of the pre-tokenizer, applied in order.
struct PreTokenizerStep {
  enum class Kind : std::uint8_t {
    split,       ///< cut by `pattern`, behaviour "Isolated": matches and gaps both become pieces
    metaspace,   ///< spaces become U+2581, one may be put before the text, and each may begin a piece
    byte_level,  ///< map bytes to printable characters; first cut by the GPT-2 pattern where `use_regex`
  };
  /// Which texts get a U+2581 in front unless they have one; `first`: only what begins the whole input.
  enum class PrependScheme : std::uint8_t { never, first, always };
  Kind kind = Kind::byte_level;
  std::string pattern;            ///< of `split`, UTF-8
  bool add_prefix_space = false;  ///< of `byte_level`
  bool use_regex = true;
  PrependScheme prepend_scheme = PrependScheme::always;  ///< of `metaspace`
  bool cut_at_spaces = true;
};

/// How the strings of tokens become text, where pieces are characters.
struct DecoderSpec {
  std::vector<Replacement> replacements;  ///< in the string of each token, one after the other
  bool byte_fallback = false;             ///< a token "<0x0A>" is that byte
  int num_leading_spaces = 0;             ///< at most so many are taken off the start of the whole text
};

/// A BPE tokenizer. Anything else in tokenizer.json is refused by name when it is read.
struct TokenizerSpec {
  std::vector<std::pair<std::string, TokenId>> vocab;           ///< piece as the file writes it, id
  std::vector<std::pair<std::string, std::string>> merges;      ///< in order of rank
  std::vector<AddedToken> added_tokens;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreTokenizerStep> pre_tokenizer;
  bool byte_level = true;      ///< pieces are written in the byte-level alphabet, else as they are
  bool ignore_merges = false;  ///< a piece that is in the vocabulary is taken whole
  bool byte_fallback = false;  ///< a character that the vocabulary lacks becomes its bytes, "<0xE6>" each
  TokenId unknown_token = -1;  ///< ... or this; -1: it vanishes
  bool fuse_unknown = false;   ///< neighbouring unknown characters share one token
  DecoderSpec decoder;         ///< not for byte_level
  std::vector<TokenId> prefix_special_ids;  ///< post-processor: ids before the text (BOS), where special tokens are added
  std::vector<TokenId> suffix_special_ids;  ///< ... and after it
};

}  // namespace moebius
