// SPDX-License-Identifier: Apache-2.0
#include "model/added_tokens.hpp"

#include <unicode/uchar.h>
#include <unicode/utf8.h>

#include <algorithm>
#include <utility>

#include "base/check.hpp"

namespace moebius::model {
namespace {

std::size_t first_byte(const AddedToken& token) { return static_cast<unsigned char>(token.content.front()); }

UChar32 first_char(std::string_view text, std::int32_t& num_bytes) {
  UChar32 c = 0;
  num_bytes = 0;
  U8_NEXT(reinterpret_cast<const std::uint8_t*>(text.data()), num_bytes, static_cast<std::int32_t>(text.size()), c);
  return c;
}

UChar32 last_char(std::string_view text, std::int32_t& num_bytes) {
  UChar32 c = 0;
  auto begin = static_cast<std::int32_t>(text.size());
  U8_PREV(reinterpret_cast<const std::uint8_t*>(text.data()), 0, begin, c);
  num_bytes = static_cast<std::int32_t>(text.size()) - begin;
  return c;
}

/// \w of Unicode TS 18, Annex C.
bool is_word(UChar32 c) {
  constexpr std::uint32_t marks_digits_connectors = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_hasBinaryProperty(c, UCHAR_ALPHABETIC) || (U_GET_GC_MASK(c) & marks_digits_connectors) != 0 ||
         u_hasBinaryProperty(c, UCHAR_JOIN_CONTROL);
}

bool begins_with_word(std::string_view text) {
  std::int32_t num_bytes = 0;
  return !text.empty() && is_word(first_char(text, num_bytes));
}

bool ends_with_word(std::string_view text) {
  std::int32_t num_bytes = 0;
  return !text.empty() && is_word(last_char(text, num_bytes));
}

/// Bytes of white space at the end of `text`.
std::size_t space_at_end(std::string_view text) {
  const std::size_t whole = text.size();
  std::int32_t num_bytes = 0;
  while (!text.empty() && u_isUWhiteSpace(last_char(text, num_bytes))) text.remove_suffix(static_cast<std::size_t>(num_bytes));
  return whole - text.size();
}

/// Bytes of white space at the start of `text`.
std::size_t space_at_start(std::string_view text) {
  const std::size_t whole = text.size();
  std::int32_t num_bytes = 0;
  while (!text.empty() && u_isUWhiteSpace(first_char(text, num_bytes))) text.remove_prefix(static_cast<std::size_t>(num_bytes));
  return whole - text.size();
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  MOEBIUS_EXPECT(std::none_of(tokens_.begin(), tokens_.end(), [](const AddedToken& t) { return t.content.empty(); }));
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return first_byte(a) != first_byte(b) ? first_byte(a) < first_byte(b) : a.content.size() > b.content.size();
  });
  for (const AddedToken& token : tokens_) ++first_of_[first_byte(token) + 1];
  for (std::size_t byte = 0; byte < 256; ++byte) first_of_[byte + 1] += first_of_[byte];
}

const AddedToken* AddedTokenMatcher::match_at(std::string_view text, std::size_t pos) const {
  const auto byte = static_cast<unsigned char>(text[pos]);
  for (std::size_t i = first_of_[byte]; i < first_of_[byte + 1U]; ++i) {
    if (text.substr(pos).starts_with(tokens_[i].content)) return &tokens_[i];
  }
  return nullptr;
}

std::vector<TextPart> AddedTokenMatcher::split(std::string_view text) const {
  std::vector<TextPart> parts;
  std::size_t done = 0;  // everything before it stands in `parts`
  for (std::size_t pos = 0; pos < text.size();) {
    const AddedToken* token = match_at(text, pos);
    if (token == nullptr) {
      ++pos;
      continue;
    }
    std::size_t begin = pos, end = pos + token->content.size();
    pos = end;  // white space that the token swallows may still begin the next one
    if (token->single_word && (ends_with_word(text.substr(0, begin)) || begins_with_word(text.substr(end)))) continue;
    if (token->lstrip) begin = std::max(begin - space_at_end(text.substr(0, begin)), done);
    if (token->rstrip) end += space_at_start(text.substr(end));
    if (done < begin) parts.push_back({text.substr(done, begin - done)});
    parts.push_back({text.substr(begin, end - begin), token->id});
    done = end;
  }
  if (done < text.size()) parts.push_back({text.substr(done)});
  return parts;
}

}  // namespace moebius::model
