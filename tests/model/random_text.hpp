// SPDX-License-Identifier: Apache-2.0
#pragma once
// Small helpers of the tokenizer's tests: numbers and characters.

#include <random>
#include <string>

namespace moebius::model::testing {

/// Uniform in 0 .. limit - 1.
inline unsigned below(std::mt19937& random, unsigned limit) { return static_cast<unsigned>(random() % limit); }

/// UTF-8 of a code point; surrogates come out ill-formed.
inline std::string utf8_of(char32_t c) {
  const auto byte = [](char32_t value) { return static_cast<char>(static_cast<unsigned char>(value)); };
  if (c < 0x80) return {byte(c)};
  if (c < 0x800) return {byte(0xc0 | (c >> 6)), byte(0x80 | (c & 63))};
  if (c < 0x10000) return {byte(0xe0 | (c >> 12)), byte(0x80 | ((c >> 6) & 63)), byte(0x80 | (c & 63))};
  return {byte(0xf0 | (c >> 18)), byte(0x80 | ((c >> 12) & 63)), byte(0x80 | ((c >> 6) & 63)), byte(0x80 | (c & 63))};
}

}  // namespace moebius::model::testing
