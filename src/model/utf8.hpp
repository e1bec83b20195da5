// SPDX-License-Identifier: Apache-2.0
#pragma once
// UTF-8 as a decoder of token bytes needs it: ill-formed parts are replaced, never refused. A maximal
// ill-formed part (Unicode 15, section 3.9, "U+FFFD substitution of maximal subparts") becomes one
// U+FFFD, as in Rust's from_utf8_lossy and Python's errors="replace". Anyone may call these.

#include <cstddef>
#include <string>
#include <string_view>

namespace moebius::model {

/// No overlong forms, no surrogates, nothing above U+10FFFF, nothing cut off.
bool is_utf8(std::string_view bytes);

/// The text of `bytes`, with U+FFFD for each maximal ill-formed part.
std::string utf8_lossy(std::string_view bytes);

/// Length of `bytes` without the up to three last bytes that begin a character which further bytes
/// could still complete. What comes before reads the same whatever follows.
std::size_t settled_utf8_bytes(std::string_view bytes);

}  // namespace moebius::model
