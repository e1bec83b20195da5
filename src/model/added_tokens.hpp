// SPDX-License-Identifier: Apache-2.0
#pragma once
// Cuts the added tokens of a tokenizer ("<|endoftext|>", ...) out of a text, before anything else looks
// at it. Leftmost match first, of those the longest; the search goes on behind the match. Options as
// in tokenizer.json: a `single_word` token counts only where no word character touches it; `lstrip` and
// `rstrip` tokens swallow the white space beside them. One matcher holds the tokens of one pass (those
// with `normalized` are looked for after normalisation, the others before).

#include <array>
#include <string_view>
#include <vector>

#include "base/tokenizer_spec.hpp"

namespace moebius::model {

/// A part of a text: an added token, or ordinary text between two of them.
struct TextPart {
  std::string_view text;
  TokenId token = -1;  ///< -1: ordinary text
};

class AddedTokenMatcher {
 public:
  /// `content` of each token is what to look for; never empty.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  /// The parts of `text` (valid UTF-8) in order; no empty ones. Views into `text`.
  [[nodiscard]] std::vector<TextPart> split(std::string_view text) const;

 private:
  /// The longest token that begins at `pos`; nullptr: none.
  [[nodiscard]] const AddedToken* match_at(std::string_view text, std::size_t pos) const;

  std::vector<AddedToken> tokens_;               // by first byte, then longest first
  std::array<std::uint32_t, 257> first_of_{};    // [256 + 1] where in tokens_ each first byte begins
};

}  // namespace moebius::model
