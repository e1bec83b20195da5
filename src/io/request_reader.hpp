// SPDX-License-Identifier: Apache-2.0
#pragma once
// One line of input into a Request. A pure function of the line; any rank may call it.
//
// It never throws for what a line contains: whatever is wrong becomes a BadLine with a status and a
// message "line <n>: <problem> (<why>) <what to do>" in valid UTF-8, and keeps the custom_id when that
// can be found. Token ids are only checked to be ids; the vocabulary is the caller's matter.

#include <cstdint>
#include <string_view>

#include "base/request.hpp"

namespace moebius::io {

struct ParsedRequest {
  ParsedLine line;
  int num_unknown_fields = 0;  ///< ignored ones, of the line and of its body
};

/// JSON of one of the forms `kind` (loglikelihood, loglikelihood_rolling, generate_until) or OpenAI
/// batch (`url`). `line` is its 1-based number, which also makes the custom_id of a line without one.
ParsedRequest parse_request(std::string_view text, std::int64_t line);

/// A whole text file as one loglikelihood_rolling request, with the name of the file as custom_id.
ParsedRequest plain_text_request(std::string_view text, std::string_view file_name);

}  // namespace moebius::io
