// SPDX-License-Identifier: Apache-2.0
#include "model/byte_level.hpp"

#include <unicode/utf8.h>

#include <cstdint>

namespace moebius::model {
namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

constexpr int num_moved = 256 - (0x7e - 0x21 + 1) - (0xac - 0xa1 + 1) - (0xff - 0xae + 1);

/// code_points[b] stands for byte b; byte_of[c] is the byte of code point c, or -1.
struct Alphabet {
  std::array<char32_t, 256> code_points{};
  std::array<std::int16_t, 256 + num_moved> byte_of{};
};

constexpr Alphabet make_alphabet() {
  Alphabet alphabet;
  for (auto& byte : alphabet.byte_of) byte = -1;
  char32_t next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t c = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
    alphabet.code_points[static_cast<std::size_t>(byte)] = c;
    alphabet.byte_of[c] = static_cast<std::int16_t>(byte);
  }
  return alphabet;
}

constexpr Alphabet alphabet = make_alphabet();

std::array<std::string, 256> make_characters() {
  std::array<std::string, 256> characters;
  for (std::size_t byte = 0; byte < 256; ++byte) {
    char utf8[U8_MAX_LENGTH];
    int length = 0;
    U8_APPEND_UNSAFE(utf8, length, alphabet.code_points[byte]);
    characters[byte].assign(utf8, static_cast<std::size_t>(length));
  }
  return characters;
}

}  // namespace

const std::array<std::string, 256>& byte_level_alphabet() {
  static const std::array<std::string, 256> characters = make_characters();
  return characters;
}

std::optional<std::string> byte_level_bytes(std::string_view characters) {
  std::string bytes;
  const auto* data = reinterpret_cast<const std::uint8_t*>(characters.data());
  const auto size = static_cast<std::int32_t>(characters.size());
  for (std::int32_t pos = 0; pos < size;) {
    UChar32 c = 0;
    U8_NEXT(data, pos, size, c);
    if (c < 0 || static_cast<std::size_t>(c) >= alphabet.byte_of.size() || alphabet.byte_of[c] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(alphabet.byte_of[c]));
  }
  return bytes;
}

}  // namespace moebius::model
