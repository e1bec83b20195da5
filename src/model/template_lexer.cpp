// SPDX-License-Identifier: Apache-2.0
#include "model/template_lexer.hpp"

#include <fmt/format.h>

#include <unicode/utf8.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

#include "model/template_text.hpp"
#include "model/template_value.hpp"

namespace moebius::model {
namespace {

using Kind = TemplateToken::Kind;
constexpr int max_tag_tokens = 2000;  // bounds how deep the tree of an expression is

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool begins_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }

/// "\n" for every line break, and none at the end of the file.
std::string with_plain_newlines(std::string_view source) {
  std::string text;
  for (std::size_t i = 0; i < source.size(); ++i) {
    if (source[i] == '\r' && i + 1 < source.size() && source[i + 1] == '\n') continue;
    text += source[i] == '\r' ? '\n' : source[i];
  }
  if (text.ends_with('\n')) text.pop_back();
  return text;
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)) {}

  std::vector<TemplateToken> run() {
    while (pos_ < source_.size()) {
      const std::size_t tag = next_tag();
      const std::string_view text = std::string_view(source_).substr(pos_, tag - pos_);
      if (tag == source_.size()) {
        add_text(text);
        break;
      }
      const char kind = source_[tag + 1];
      const char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
      add_text(before_tag(text, kind, sign));
      pos_ = tag + 2 + (sign == '-' || (sign == '+' && kind != '{') ? 1 : 0);
      if (kind == '#') {
        skip_comment();
      } else {
        read_tag(kind);
      }
    }
    add(Kind::end, "");
    return std::move(tokens_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    template_unsupported(fmt::format("{} in line {}", what, line_at(pos_)));
  }
  [[nodiscard]] int line_at(std::size_t pos) const {
    return 1 + static_cast<int>(std::count(source_.begin(), source_.begin() + static_cast<std::ptrdiff_t>(std::min(pos, source_.size())), '\n'));
  }
  void add(Kind kind, std::string text) { tokens_.push_back({kind, std::move(text), line_at(pos_)}); }
  void add_text(std::string_view text) {
    if (!text.empty()) add(Kind::text, std::string(text));
  }

  [[nodiscard]] std::size_t next_tag() const {
    for (std::size_t at = source_.find('{', pos_); at != std::string::npos; at = source_.find('{', at + 1)) {
      if (at + 1 < source_.size() && std::string_view("{%#").find(source_[at + 1]) != std::string_view::npos) return at;
    }
    return source_.size();
  }

  /// What stays of the text between the last tag and one of this kind.
  [[nodiscard]] std::string_view before_tag(std::string_view text, char kind, char sign) const {
    if (sign == '-') return stripped(text, Side::right);
    if (kind == '{' || sign == '+') return text;
    // lstrip_blocks: blanks alone before a block, from the start of its line, go.
    const std::size_t newline = text.rfind('\n');
    const bool from_line_start = newline != std::string_view::npos || at_line_start_;
    const std::string_view last_line = newline == std::string_view::npos ? text : text.substr(newline + 1);
    return from_line_start && std::ranges::all_of(last_line, is_blank) ? text.substr(0, text.size() - last_line.size()) : text;
  }

  /// Behind a tag: white space that it takes along. `end` is the length of its end without the sign.
  void after_tag(bool strips, bool is_block, bool keeps) {
    at_line_start_ = false;
    if (strips) {
      const std::string_view rest = std::string_view(source_).substr(pos_);
      const std::size_t size = rest.size() - stripped(rest, Side::left).size();
      at_line_start_ = size > 0 && rest[size - 1] == '\n';
      pos_ += size;
    } else if (is_block && !keeps && pos_ < source_.size() && source_[pos_] == '\n') {
      ++pos_;  // trim_blocks
      at_line_start_ = true;
    }
  }

  void skip_comment() {
    const std::size_t end = source_.find("#}", pos_);
    if (end == std::string::npos) refuse("a comment without an end");
    const char sign = end > pos_ ? source_[end - 1] : ' ';
    pos_ = end + 2;
    after_tag(sign == '-', true, sign == '+');
  }

  void read_tag(char kind) {
    const bool is_block = kind == '%';
    const std::string end = is_block ? "%}" : "}}";
    add(is_block ? Kind::block_begin : Kind::output_begin, "");
    depth_ = 0;
    for (int num_tokens = 0;; ++num_tokens) {
      if (num_tokens > max_tag_tokens) refuse("a tag of too many parts");
      while (pos_ < source_.size() && is_blank(source_[pos_])) ++pos_;
      if (pos_ >= source_.size()) refuse("a tag without an end");
      if (depth_ == 0) {
        const std::string_view rest = std::string_view(source_).substr(pos_);
        const bool has_sign = rest.substr(1).starts_with(end) && (rest[0] == '-' || (rest[0] == '+' && is_block));
        if (has_sign || rest.starts_with(end)) {
          add(is_block ? Kind::block_end : Kind::output_end, "");
          pos_ += end.size() + (has_sign ? 1 : 0);
          return after_tag(has_sign && rest[0] == '-', is_block, has_sign && rest[0] == '+');
        }
      }
      read_token();
    }
  }

  void read_token() {
    const char c = source_[pos_];
    std::size_t end = pos_ + 1;
    if (c == '\'' || c == '"') return read_string(c);
    if (begins_name(c)) {
      while (end < source_.size() && (begins_name(source_[end]) || is_digit(source_[end]))) ++end;
      add(Kind::name, source_.substr(pos_, end - pos_));
    } else if (is_digit(c)) {
      while (end < source_.size() && is_digit(source_[end])) ++end;
      if (end < source_.size() && (source_[end] == '.' || begins_name(source_[end]))) refuse("a number that is no plain integer");
      add(Kind::integer, source_.substr(pos_, end - pos_));
    } else {
      end = pos_ + symbol_size(c);
      add(Kind::symbol, source_.substr(pos_, end - pos_));
    }
    pos_ = end;
  }

  std::size_t symbol_size(char c) {
    constexpr std::array<std::string_view, 6> pairs = {"//", "**", "==", "!=", "<=", ">="};
    constexpr std::string_view singles = "+-/*%~[](){}.:|,;=<>";
    if (std::ranges::find(pairs, std::string_view(source_).substr(pos_, 2)) != pairs.end()) return 2;
    if (singles.find(c) == std::string_view::npos) refuse(fmt::format("the character {}", json_string(characters_of(std::string_view(source_).substr(pos_)).front())));
    if (c == '(' || c == '[' || c == '{') ++depth_;
    if (c == ')' || c == ']' || c == '}') --depth_;
    if (depth_ < 0) refuse("a bracket that nothing opened");
    return 1;
  }

  void read_string(char quote) {
    const std::size_t begin = pos_;
    std::string text;
    for (std::size_t at = pos_ + 1; at < source_.size(); ++at) {
      if (source_[at] == quote) {
        add(Kind::string, std::move(text));
        pos_ = at + 1;
        return;
      }
      if (source_[at] == '\\' && at + 1 < source_.size()) {
        at = read_escape(at + 1, text);
      } else {
        text += source_[at];
      }
    }
    pos_ = begin;
    refuse("a string without an end");
  }

  /// As Python reads it; `at` is behind the backslash. Returns the last position that belongs to it.
  std::size_t read_escape(std::size_t at, std::string& text) {
    constexpr std::string_view names = "ntrabfv\\'\"", values = "\n\t\r\a\b\f\v\\'\"";
    const char c = source_[at];
    if (const std::size_t found = names.find(c); found != std::string_view::npos) {
      text += values[found];
    } else if (c == 'x' || c == 'u' || c == 'U') {
      const std::size_t num_digits = c == 'x' ? 2 : c == 'u' ? 4 : 8;
      const std::string digits = source_.substr(at + 1, num_digits);
      std::uint32_t value = 0;
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
      if (digits.size() != num_digits || end != digits.data() + num_digits || value > 0x10ffff || U_IS_SURROGATE(value)) {
        refuse("an escape that stands for no character");
      }
      char utf8[U8_MAX_LENGTH];
      int length = 0;
      U8_APPEND_UNSAFE(utf8, length, value);
      text.append(utf8, static_cast<std::size_t>(length));
      return at + num_digits;
    } else if (is_digit(c) || c == 'N') {
      refuse("an escape by number or name");
    } else if (c != '\n') {
      text += '\\';
      text += c;
    }
    return at;
  }

  std::string source_;
  std::size_t pos_ = 0;
  int depth_ = 0;               // of brackets inside a tag
  bool at_line_start_ = true;   // what came before `pos_` ended a line
  std::vector<TemplateToken> tokens_;
};

}  // namespace

std::vector<TemplateToken> lex_template(std::string_view source) { return Lexer(with_plain_newlines(source)).run(); }

}  // namespace moebius::model
