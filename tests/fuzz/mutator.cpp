// SPDX-License-Identifier: Apache-2.0
#include "tests/fuzz/mutator.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <iterator>
#include <utility>

namespace moebius::test {
namespace {

using namespace std::string_view_literals;

constexpr std::array numbers{
    "0"sv, "1"sv, "-1"sv, "2"sv, "7"sv, "-0"sv, "0.5"sv, "1e3"sv, "-2.5e-7"sv, "127"sv, "128"sv, "255"sv, "256"sv, "65535"sv, "65536"sv,
    "2147483647"sv, "2147483648"sv, "-2147483648"sv, "-2147483649"sv, "4294967295"sv, "4294967296"sv, "9007199254740993"sv,
    "9223372036854775807"sv, "9223372036854775808"sv, "-9223372036854775808"sv, "-9223372036854775809"sv,
    "18446744073709551615"sv, "18446744073709551616"sv, "99999999999999999999999999"sv, "1e308"sv, "1e309"sv, "-1e999"sv, "1e-999"sv,
    "0.1e1"sv, "01"sv, "+1"sv, "0x10"sv, "1."sv, ".5"sv, "1e"sv, "nan"sv, "inf"sv, "-inf"sv, "NaN"sv, "Infinity"sv};
constexpr std::array values{
    "null"sv, "true"sv, "false"sv, "[]"sv, "{}"sv, "\"\""sv, "\"x\""sv, "[0]"sv, "[[]]"sv, "[null]"sv, "{\"a\":1}"sv, "[1,2,3]"sv,
    "[1.5]"sv, "[\"a\",\"b\"]"sv, "[-1]"sv, "\"\\u0000\""sv, "\"\\ud800\""sv, "\"\\udc00\\ud800\""sv, "\"\xf0\x9f\x98\x80\""sv,
    "[2147483648]"sv, "[[1,2],[3]]"sv, "\"0\""sv, "{\"\":{}}"sv, "tru"sv, "'x'"sv};
constexpr std::array string_pieces{
    ""sv, "\\"sv, "\\\\"sv, "\\\""sv, "\\n"sv, "\\u0000"sv, "\\ud800"sv, "\\udfff"sv, "\\ud83d\\ude00"sv, "\\uD8"sv, "\\x41"sv, "\xff"sv,
    "\xc0\x80"sv, "\xed\xa0\x80"sv, "\xf4\x90\x80\x80"sv, "\xe2\x82"sv, "\xef\xbf\xbd"sv, "\xef\xbb\xbf"sv, "\xc4\xa0"sv, "e\xcc\x81"sv,
    "\xe4\xb8\x96"sv, " "sv, "\t"sv, "\n"sv, "\r"sv, "\0"sv, "../"sv, "/"sv, "."sv, "(?i)"sv, "(a+)+$"sv, "[^"sv, "\\\\p{L}"sv, "(?=x)"sv,
    "{1,99999}"sv, "*"sv, "|"sv, "<|endoftext|>"sv};
constexpr std::string_view alphabet = "{}[]\",:\\0123456789eE+-.tfn aZ_#='/\n";

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }

/// The end of the JSON value (or word) that begins at `begin`; brackets and quotes are matched.
std::size_t end_of_value(std::string_view text, std::size_t begin) {
  int depth = 0;
  bool quoted = false;
  for (std::size_t at = begin; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted) {
      if (c == '\\') ++at;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if (c == '}' || c == ']' || c == ',' || c == '\n' || c == ':') {
      if (c == '}' || c == ']') --depth;
      if (depth < 0 || (depth == 0 && c != '}' && c != ']')) return at;
      if (depth == 0) return at + 1;
    }
  }
  return text.size();
}

/// The first place from `from` on, around the end of the text, where a value may begin.
std::size_t begin_of_value(std::string_view text, std::size_t from) {
  constexpr std::string_view before = ":,[=";
  std::size_t at = text.find_first_of(before, from);
  if (at == std::string_view::npos) at = text.find_first_of(before);
  if (at == std::string_view::npos) return from;
  return std::min(text.find_first_not_of(" \t", at + 1), text.size());
}

}  // namespace

std::string Mutator::random_text(std::size_t max_bytes) {
  std::string text;
  const std::size_t num_bytes = pick(max_bytes + 1);
  while (text.size() < num_bytes) {
    switch (pick(4)) {
      case 0: text += string_pieces[pick(string_pieces.size())]; break;
      case 1: text += static_cast<char>(random_()); break;
      case 2: text.append(1 + pick(40), alphabet[pick(alphabet.size())]); break;
      default:
        for (std::size_t length = pick(12); length-- > 0;) text += static_cast<char>('a' + pick(26));
        text += ' ';
    }
  }
  return text;
}

std::string Mutator::mutate(std::string text, std::span<const std::string> others, std::size_t max_bytes) {
  // One edit most of the time: damage upon damage is refused at the first.
  const std::size_t num_edits = pick(3) != 0 ? 1 : 2 + pick(pick(4) == 0 ? 10 : 2);
  for (std::size_t edit = 0; edit < num_edits; ++edit) {
    if (text.empty()) text = random_text(64);
    if (text.empty()) return text;
    switch (pick(8)) {
      case 0: edit_bytes(text); break;
      case 1: edit_run(text); break;
      case 2: case 3: edit_number(text); break;
      case 4: case 5: edit_value(text); break;
      case 6: edit_string(text); break;
      default:
        if (!others.empty()) splice(text, others[pick(others.size())]);
    }
    if (text.size() > max_bytes) text.resize(max_bytes);
  }
  return text;
}

void Mutator::edit_bytes(std::string& text) {
  const std::size_t at = pick(text.size());
  switch (pick(4)) {
    case 0: text[at] = static_cast<char>(random_()); break;
    case 1: text[at] = alphabet[pick(alphabet.size())]; break;
    case 2: text[at] = static_cast<char>(static_cast<unsigned char>(text[at]) ^ (1U << pick(8))); break;
    default: text.insert(at, 1, static_cast<char>(random_())); break;
  }
}

void Mutator::edit_run(std::string& text) {
  const std::size_t at = pick(text.size()), length = 1 + pick(pick(3) == 0 ? text.size() : 16);
  switch (pick(5)) {
    case 0: text.erase(at, length); break;
    case 1: text.insert(pick(text.size()), std::string(text, at, length)); break;
    case 2: text.resize(at); break;
    case 3:  // many of one character: depth, length
      text.insert(at, std::string(1 + pick(3000), "[{\"( 9\\a"[pick(8)]));
      break;
    default: std::reverse(text.begin() + static_cast<std::ptrdiff_t>(at),
                          text.begin() + static_cast<std::ptrdiff_t>(std::min(text.size(), at + length)));
  }
}

void Mutator::edit_number(std::string& text) {
  const auto begin = std::find_if(text.begin() + static_cast<std::ptrdiff_t>(pick(text.size())), text.end(), is_digit);
  if (begin == text.end()) return;
  const auto end = std::find_if_not(begin, text.end(), is_digit);
  text.replace(begin, end, numbers[pick(numbers.size())]);
}

void Mutator::edit_value(std::string& text) {
  const std::size_t begin = begin_of_value(text, pick(text.size())), end = end_of_value(text, begin);
  const std::string value = text.substr(begin, end - begin);
  switch (pick(6)) {
    case 0: text.replace(begin, end - begin, values[pick(values.size())]); break;
    case 1: text.replace(begin, end - begin, numbers[pick(numbers.size())]); break;
    case 2: text.erase(begin, end + 1 - begin); break;                    // an element or the next key's value
    case 3: text.insert(begin, value + ","); break;                       // once more
    case 4: text.replace(begin, end - begin, "[" + value + "]"); break;   // one deeper
    default: {                                                            // exchanged with another value
      const std::size_t other = begin_of_value(text, pick(text.size()));
      const std::string theirs = text.substr(other, end_of_value(text, other) - other);
      text.replace(begin, end - begin, theirs);
    }
  }
}

void Mutator::edit_string(std::string& text) {
  const std::size_t quote = text.find('"', pick(text.size()));
  if (quote == std::string::npos) return;
  std::size_t end = quote + 1;
  while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
  end = std::min(end, text.size());
  const std::string_view piece = string_pieces[pick(string_pieces.size())];
  if (pick(3) == 0) {
    text.replace(quote + 1, end - quote - 1, piece);
  } else {
    text.insert(quote + 1 + pick(end - quote), piece);
  }
}

void Mutator::splice(std::string& text, std::string_view other) {
  if (other.empty()) return;
  const std::size_t from = pick(other.size()), length = 1 + pick(std::min<std::size_t>(other.size() - from, 400));
  const std::size_t at = pick(text.size());
  if (pick(2) == 0) {
    text.insert(at, other.substr(from, length));
  } else {
    text = text.substr(0, at) + std::string(other.substr(from));
  }
}

}  // namespace moebius::test
