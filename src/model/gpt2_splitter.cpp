// SPDX-License-Identifier: Apache-2.0
#include "model/gpt2_splitter.hpp"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <array>
#include <cstdint>

namespace moebius::model {
namespace {

/// The four kinds of character that the pattern tells apart.
enum class Kind : std::uint8_t { letter, number, space, other };

Kind kind_of(UChar32 c) {
  const std::uint32_t category = U_GET_GC_MASK(c);
  if ((category & U_GC_L_MASK) != 0) return Kind::letter;
  if ((category & U_GC_N_MASK) != 0) return Kind::number;
  return u_isUWhiteSpace(c) ? Kind::space : Kind::other;
}

std::array<Kind, 128> make_ascii_kinds() {
  std::array<Kind, 128> kinds{};
  for (std::size_t c = 0; c < kinds.size(); ++c) kinds[c] = kind_of(static_cast<UChar32>(c));
  return kinds;
}

struct Char {
  Kind kind;
  std::size_t end;  ///< offset behind it
};

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  /// End of the piece that begins at `pos` < size. Every character begins one, so there are no gaps.
  [[nodiscard]] std::size_t piece_end(std::size_t pos) const {
    if (text_[pos] == '\'') {
      if (const std::size_t length = contraction(pos); length > 0) return pos + length;
    }
    Char first = char_at(pos);
    if (text_[pos] == ' ' && first.end < text_.size()) {
      const Char second = char_at(first.end);
      if (second.kind != Kind::space) first = second;  // " ?" takes the space along
    }
    if (first.kind != Kind::space) return run_end(first.kind, first.end);
    return space_end(first.end);
  }

 private:
  [[nodiscard]] Char char_at(std::size_t pos) const {
    static const std::array<Kind, 128> ascii_kinds = make_ascii_kinds();
    const auto byte = static_cast<unsigned char>(text_[pos]);
    if (byte < 0x80) return {ascii_kinds[byte], pos + 1};
    UChar32 c = 0;
    auto end = static_cast<std::int32_t>(pos);
    U8_NEXT(reinterpret_cast<const std::uint8_t*>(text_.data()), end, static_cast<std::int32_t>(text_.size()), c);
    return {kind_of(c), static_cast<std::size_t>(end)};
  }

  [[nodiscard]] std::size_t run_end(Kind kind, std::size_t pos) const {
    while (pos < text_.size()) {
      const Char next = char_at(pos);
      if (next.kind != kind) break;
      pos = next.end;
    }
    return pos;
  }

  /// A run of white space whose first character ends at `pos`. Before a word it leaves its last
  /// character to that word, unless it has only one.
  [[nodiscard]] std::size_t space_end(std::size_t pos) const {
    std::size_t before_last = pos;
    bool only_one = true;
    while (pos < text_.size()) {
      const Char next = char_at(pos);
      if (next.kind != Kind::space) return only_one ? pos : before_last;
      before_last = pos;
      only_one = false;
      pos = next.end;
    }
    return pos;
  }

  /// Length of 's 't 're 've 'm 'll 'd at `pos`, 0: none of them.
  [[nodiscard]] std::size_t contraction(std::size_t pos) const {
    const std::string_view rest = text_.substr(pos + 1, 2);
    if (rest.empty()) return 0;
    const char c = rest[0];
    if (c == 's' || c == 't' || c == 'm' || c == 'd') return 2;
    return rest == "re" || rest == "ve" || rest == "ll" ? 3 : 0;
  }

  std::string_view text_;
};

}  // namespace

void split_as_gpt2(std::string_view text, const PieceSink& sink) {
  const Scanner scanner(text);
  for (std::size_t pos = 0; pos < text.size();) {
    const std::size_t end = scanner.piece_end(pos);
    sink(text.substr(pos, end - pos));
    pos = end;
  }
}

}  // namespace moebius::model
