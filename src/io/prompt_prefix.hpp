// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the prompt of a JSON line begins, found without parsing it, and the hashes of its beginning. For
// request_file.cpp: indexing an input looks at every line, most of them on another rank's behalf.

#include <string_view>

#include "base/prefix_keys.hpp"

namespace moebius::io {

/// Bytes of a line that prefix_keys looks at: those before the prompt (ids, names of a model) and the prompt's.
inline constexpr std::size_t max_bytes_before_prompt = 1024;
inline constexpr std::size_t max_prefix_bytes = max_bytes_before_prompt + static_cast<std::size_t>(prefix_key_bytes.back());

/// `line` is a line or its first max_prefix_bytes. The prompt is the value of the first "context", "prompt"
/// or "messages", as it stands in the file; zeros where there is none in the first max_bytes_before_prompt.
PrefixKeys prefix_keys(std::string_view line);

}  // namespace moebius::io
