// SPDX-License-Identifier: Apache-2.0
#pragma once
// Strict UTF-8 (Unicode 15, table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF.
// Used by every reader of `io` before a text reaches a parser or a result file.

#include <cstddef>
#include <optional>
#include <string_view>

namespace moebius::io {

/// Offset of the first byte that does not start or continue a well-formed character; nothing when all is well.
std::optional<std::size_t> first_invalid_utf8(std::string_view text);

/// The longest prefix of at most `max_bytes` that does not cut a character of valid UTF-8 in two.
std::string_view utf8_prefix(std::string_view text, std::size_t max_bytes);

}  // namespace moebius::io
