// SPDX-License-Identifier: Apache-2.0
#pragma once
// The byte-level alphabet of GPT-2: tokenizer.json writes each byte of a piece as one printable
// character. Bytes that are printable in Latin-1 stand for themselves, the others for U+0100, U+0101, ...
// in order. Inside the program pieces are bytes; only the tables of a tokenizer are read through this.

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace moebius::model {

/// The character (UTF-8) that stands for each byte.
const std::array<std::string, 256>& byte_level_alphabet();

/// The bytes that `characters` stand for; nothing where one is not of the alphabet.
std::optional<std::string> byte_level_bytes(std::string_view characters);

}  // namespace moebius::model
