// SPDX-License-Identifier: Apache-2.0
#pragma once
// The pattern of GPT-2, which ByteLevel applies where tokenizer.json says use_regex, as a scanner of one
// pass: most published tokenizers spend their time here, and it is several times faster than a general
// regular expression. Equal, piece by piece, to
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// with \s = White_Space; the tests compare it with that pattern run by RegexSplitter.

#include <string_view>

#include "model/regex_splitter.hpp"

namespace moebius::model {

/// `text`: valid UTF-8. Its pieces, none empty, together the whole text.
void split_as_gpt2(std::string_view text, const PieceSink& sink);

}  // namespace moebius::model
