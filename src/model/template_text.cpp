// SPDX-License-Identifier: Apache-2.0
#include "model/template_text.hpp"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>

#include "model/template_value.hpp"

namespace moebius::model {
namespace {

/// str.isspace(): White_Space and the four separators of ASCII.
bool is_space(std::string_view character) {
  UChar32 c = 0;
  std::int32_t pos = 0;
  U8_NEXT(reinterpret_cast<const std::uint8_t*>(character.data()), pos, static_cast<std::int32_t>(character.size()), c);
  return u_isUWhiteSpace(c) || (c >= 0x1c && c <= 0x1f);
}

std::string_view first_character(std::string_view text) {
  std::int32_t end = 0;
  U8_FWD_1(reinterpret_cast<const std::uint8_t*>(text.data()), end, static_cast<std::int32_t>(text.size()));
  return text.substr(0, static_cast<std::size_t>(end));
}

std::string_view last_character(std::string_view text) {
  auto begin = static_cast<std::int32_t>(text.size());
  U8_BACK_1(reinterpret_cast<const std::uint8_t*>(text.data()), 0, begin);
  return text.substr(static_cast<std::size_t>(begin));
}

std::vector<std::string_view> split_at_spaces(std::string_view text, std::int64_t max_splits) {
  std::vector<std::string_view> parts;
  for (text = stripped(text, Side::left); !text.empty(); text = stripped(text, Side::left)) {
    std::size_t size = 0;
    const bool rest = max_splits >= 0 && static_cast<std::int64_t>(parts.size()) == max_splits;
    while (size < text.size() && (rest || !is_space(first_character(text.substr(size))))) size += first_character(text.substr(size)).size();
    parts.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return parts;
}

bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
bool is_lower(char c) { return c >= 'a' && c <= 'z'; }

}  // namespace

std::vector<std::string_view> characters_of(std::string_view text) {
  std::vector<std::string_view> characters;
  while (!text.empty()) {
    characters.push_back(first_character(text));
    text.remove_prefix(characters.back().size());
  }
  return characters;
}

std::string_view stripped(std::string_view text, Side side, std::string_view set) {
  const auto chars = characters_of(set);
  const auto goes = [&](std::string_view character) {
    return set.empty() ? is_space(character) : std::ranges::find(chars, character) != chars.end();
  };
  while (side != Side::right && !text.empty() && goes(first_character(text))) text.remove_prefix(first_character(text).size());
  while (side != Side::left && !text.empty() && goes(last_character(text))) text.remove_suffix(last_character(text).size());
  return text;
}

std::vector<std::string_view> split_text(std::string_view text, std::string_view separator, std::int64_t max_splits) {
  if (separator.empty()) return split_at_spaces(text, max_splits);
  std::vector<std::string_view> parts;
  while (max_splits < 0 || static_cast<std::int64_t>(parts.size()) < max_splits) {
    const std::size_t found = text.find(separator);
    if (found == std::string_view::npos) break;
    parts.push_back(text.substr(0, found));
    text.remove_prefix(found + separator.size());
  }
  parts.push_back(text);
  return parts;
}

std::string with_case(std::string_view text, LetterCase letter_case) {
  std::string result(text);
  bool inside_word = false;
  for (std::size_t i = 0; i < result.size(); ++i) {
    char& c = result[i];
    if (static_cast<unsigned char>(c) >= 0x80) template_unsupported("it changes the case of letters outside ASCII");
    const bool to_upper = letter_case == LetterCase::upper || (letter_case == LetterCase::title && !inside_word) ||
                          (letter_case == LetterCase::capitalize && i == 0);
    inside_word = is_upper(c) || is_lower(c);
    if (to_upper && is_lower(c)) c = static_cast<char>(c - 'a' + 'A');
    else if (!to_upper && is_upper(c)) c = static_cast<char>(c - 'A' + 'a');
  }
  return result;
}

std::string json_string(std::string_view text) {
  constexpr std::string_view digits = "0123456789abcdef", named = "\"\\\n\r\t\b\f", names = "\"\\nrtbf";
  std::string json = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (const std::size_t found = named.find(c); found != std::string_view::npos) {
      json += '\\';
      json += names[found];
    } else if (byte < 0x20) {
      json += "\\u00";
      json += digits[byte >> 4];
      json += digits[byte & 15];
    } else {
      json += c;
    }
  }
  return json + '"';
}

}  // namespace moebius::model
