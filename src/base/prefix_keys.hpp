// SPDX-License-Identifier: Apache-2.0
#pragma once
// How the prompt of an input line begins, as a few hashes: enough to put lines that begin alike next to
// each other. `io` makes them while it looks for lines, `policy` orders by them. Equal hashes are no proof
// and need none: they decide the order of work, never a result.

#include <array>
#include <cstdint>

namespace moebius {

/// How many bytes of the prompt each hash covers. From a short instruction to many examples, in steps that
/// leave at most three quarters of what two lines share out of sight.
inline constexpr std::array<std::int64_t, 4> prefix_key_bytes{64, 256, 1024, 4096};

/// [4] hashes of the first prefix_key_bytes; 0: the prompt is shorter, or was not found.
using PrefixKeys = std::array<std::uint32_t, prefix_key_bytes.size()>;

}  // namespace moebius
