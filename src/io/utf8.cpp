// SPDX-License-Identifier: Apache-2.0
#include "io/utf8.hpp"

#include <cstdint>
#include <cstring>

namespace moebius::io {
namespace {

/// Bytes of the well-formed character at the start of `rest`; 0 where there is none.
std::size_t character_bytes(std::string_view rest) {
  const auto byte = [&](std::size_t idx) { return idx < rest.size() ? static_cast<unsigned char>(rest[idx]) : 0U; };
  const auto continues = [&](std::size_t idx) { return (byte(idx) & 0xC0U) == 0x80U; };
  const unsigned lead = byte(0);
  if (lead < 0x80U) return 1;
  if (lead >= 0xC2U && lead <= 0xDFU) return continues(1) ? 2 : 0;
  if (lead >= 0xE0U && lead <= 0xEFU) {
    // E0 must not be overlong, ED must not be a surrogate: both narrow the second byte.
    if (!continues(1) || !continues(2)) return 0;
    if (lead == 0xE0U && byte(1) < 0xA0U) return 0;
    if (lead == 0xEDU && byte(1) > 0x9FU) return 0;
    return 3;
  }
  if (lead >= 0xF0U && lead <= 0xF4U) {
    // F0 must not be overlong, F4 must not pass U+10FFFF.
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    if (lead == 0xF0U && byte(1) < 0x90U) return 0;
    if (lead == 0xF4U && byte(1) > 0x8FU) return 0;
    return 4;
  }
  return 0;
}

}  // namespace

std::optional<std::size_t> first_invalid_utf8(std::string_view text) {
  std::size_t offset = 0;
  while (offset < text.size()) {
    std::uint64_t eight = 0;
    while (text.size() - offset >= sizeof eight) {  // most text is ASCII: eight characters a step
      std::memcpy(&eight, text.data() + offset, sizeof eight);
      if ((eight & 0x8080808080808080ULL) != 0) break;
      offset += sizeof eight;
    }
    if (offset >= text.size()) break;
    const std::size_t num_bytes = character_bytes(text.substr(offset));
    if (num_bytes == 0) return offset;
    offset += num_bytes;
  }
  return std::nullopt;
}

std::string_view utf8_prefix(std::string_view text, std::size_t max_bytes) {
  if (text.size() <= max_bytes) return text;
  std::size_t end = max_bytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
  return text.substr(0, end);
}

}  // namespace moebius::io
