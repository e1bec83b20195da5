// SPDX-License-Identifier: Apache-2.0
#pragma once
// A chat template cut into tokens, as Jinja 3.1 does with trim_blocks and lstrip_blocks, which is how
// transformers runs chat templates: the line break behind a block and the blanks before one vanish, "-"
// takes all white space on its side, "+" keeps it.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace moebius::model {

struct TemplateToken {
  enum class Kind : std::uint8_t { text, block_begin, block_end, output_begin, output_end, name, string, integer, symbol, end };
  Kind kind = Kind::end;
  std::string text;  ///< of a string: what it stands for
  int line = 1;      ///< where it begins, from 1
};

/// The last token is `end`. Throws TemplateFault(unsupported) where it is no template that it knows.
std::vector<TemplateToken> lex_template(std::string_view source);

}  // namespace moebius::model
