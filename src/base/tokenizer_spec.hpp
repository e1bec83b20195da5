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

enum class NormalizerKind : std::uint8_t { none, nfc };

/// One step of the pre-tokenizer, applied in order.
struct PreTokenizerStep {
  enum class Kind : std::uint8_t {
    split,       ///< cut by `pattern`, behaviour "Isolated": matches and gaps both become pieces
    byte_level,  ///< map bytes to printable characters; first cut by the GPT-2 pattern where `use_regex`
  };
  Kind kind = Kind::byte_level;
  std::string pattern;  ///< of `split`, UTF-8
  bool add_prefix_space = false;
  bool use_regex = true;
};

/// A byte-level BPE tokenizer. Anything else in tokenizer.json is refused by name when it is read.
struct TokenizerSpec {
  std::vector<std::pair<std::string, TokenId>> vocab;           ///< piece (in byte-level characters), id
  std::vector<std::pair<std::string, std::string>> merges;      ///< in order of rank
  std::vector<AddedToken> added_tokens;
  NormalizerKind normalizer = NormalizerKind::none;
  std::vector<PreTokenizerStep> pre_tokenizer;
  bool ignore_merges = false;  ///< a piece that is in the vocabulary is taken whole
  std::vector<TokenId> prefix_special_ids;  ///< post-processor: ids before the text (BOS), where special tokens are added
  std::vector<TokenId> suffix_special_ids;  ///< ... and after it
};

}  // namespace moebius
