// SPDX-License-Identifier: Apache-2.0
#include "model/tokenizer.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <system_error>
#include <unordered_map>
#include <utility>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "model/byte_level.hpp"

namespace moebius::model {
namespace {

enum class Pass : std::uint8_t { before_normalizing, after_normalizing };

/// The added tokens of one pass; those of the second are looked for in their normalised form. Special
/// tokens come first, which decides between two that have become equal.
std::vector<AddedToken> tokens_of_pass(const TokenizerSpec& spec, Pass pass) {
  std::vector<AddedToken> tokens;
  const Normalizer normalizer(spec.normalizer);
  for (AddedToken token : spec.added_tokens) {
    if (token.content.empty()) {
      throw Failure{ExitCode::unreadable_input, "added token " + std::to_string(token.id) +
                                                    " of tokenizer.json is empty (no text could match it) mend the file"};
    }
    if (token.normalized != (pass == Pass::after_normalizing)) continue;
    if (std::string buffer; token.normalized) token.content = std::string(normalizer.apply(token.content, buffer));
    tokens.push_back(std::move(token));
  }
  std::stable_partition(tokens.begin(), tokens.end(), [](const AddedToken& token) { return token.special; });
  return tokens;
}

/// An added token that the vocabulary has under its own name keeps the id of the vocabulary, whatever the
/// list of added tokens says: so the tokenizers library resolves a file that contradicts itself.
TokenizerSpec with_resolved_ids(TokenizerSpec spec) {
  std::unordered_map<std::string_view, AddedToken*> added;
  for (AddedToken& token : spec.added_tokens) added.emplace(token.content, &token);
  for (const auto& [piece, id] : spec.vocab) {
    if (const auto found = added.find(piece); found != added.end()) found->second->id = id;
  }
  return spec;
}

TokenId largest_id(const TokenizerSpec& spec) {
  TokenId largest = -1;
  for (const auto& [piece, id] : spec.vocab) largest = std::max(largest, id);
  for (const AddedToken& token : spec.added_tokens) largest = std::max(largest, token.id);
  return largest;
}

/// What a token of a byte-level tokenizer stands for: ByteLevel reads its characters as bytes where all
/// are of the alphabet, and takes them as they are otherwise.
std::string bytes_of(const std::string& content) { return byte_level_bytes(content).value_or(content); }

/// The byte that "<0x0A>" names.
std::optional<std::string> fallback_byte(std::string_view content) {
  unsigned value = 0;
  if (content.size() != 6 || !content.starts_with("<0x") || content.back() != '>') return std::nullopt;
  const auto [end, error] = std::from_chars(content.data() + 3, content.data() + 5, value, 16);
  if (error != std::errc() || end != content.data() + 5) return std::nullopt;
  return std::string(1, static_cast<char>(value));
}

/// A run of byte tokens: its text where it is UTF-8, else U+FFFD for each byte (decoder ByteFallback).
std::string text_of_bytes(const std::string& bytes) {
  if (is_utf8(bytes)) return bytes;
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); ++i) text += "\xef\xbf\xbd";
  return text;
}

void require_id(TokenId id) {
  if (id >= 0) return;
  throw Failure{ExitCode::unreadable_input, "tokenizer.json gives a token the id " + std::to_string(id) +
                                                " (ids are 0 or more) download the file again"};
}

}  // namespace

Tokenizer::Tokenizer(TokenizerSpec spec) : Tokenizer(with_resolved_ids(std::move(spec)), Resolved{}) {}

Tokenizer::Tokenizer(TokenizerSpec spec, Resolved)
    : normalizer_(spec.normalizer),
      raw_tokens_(tokens_of_pass(spec, Pass::before_normalizing)),
      normalized_tokens_(tokens_of_pass(spec, Pass::after_normalizing)),
      pre_tokenizer_(spec.pre_tokenizer),
      bpe_(spec),
      prefix_(std::move(spec.prefix_special_ids)),
      suffix_(std::move(spec.suffix_special_ids)),
      byte_level_(spec.byte_level),
      num_leading_spaces_(spec.byte_level ? 0 : spec.decoder.num_leading_spaces) {
  if (byte_level_ != pre_tokenizer_.is_byte_level()) {
    throw Failure{ExitCode::unreadable_input, "pre_tokenizer of tokenizer.json does not fit its pieces (byte-level BPE and no other "
                                              "has a ByteLevel step) use another tokenizer"};
  }
  const auto num_ids = static_cast<std::size_t>(largest_id(spec) + 1);
  bytes_.resize(num_ids);
  is_special_.assign(num_ids, 0);
  is_raw_byte_.assign(num_ids, 0);
  for (const auto& [piece, id] : spec.vocab) set_text_of(id, piece, spec);
  for (const AddedToken& token : spec.added_tokens) {
    std::string buffer;
    set_text_of(token.id, token.normalized ? std::string(normalizer_.apply(token.content, buffer)) : token.content, spec);
    is_special_[token.id] = token.special ? 1 : 0;
  }
}

void Tokenizer::set_text_of(TokenId token, const std::string& content, const TokenizerSpec& spec) {
  require_id(token);
  std::string& bytes = bytes_[token];
  if (byte_level_) {
    bytes = bytes_of(content);
    return;
  }
  bytes = content;
  for (const Replacement& replacement : spec.decoder.replacements) bytes = replaced(bytes, replacement);
  if (!spec.decoder.byte_fallback) return;
  const auto byte = fallback_byte(bytes);
  is_raw_byte_[token] = byte ? 1 : 0;
  if (byte) bytes = *byte;
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, AddSpecial special) const {
  MOEBIUS_EXPECT(text.size() <= max_text_bytes);
  std::string repaired;
  if (!is_utf8(text)) {
    repaired = utf8_lossy(text);
    text = repaired;
  }
  std::vector<TokenId> out;
  out.reserve(text.size() / 3 + prefix_.size() + suffix_.size());
  if (special == AddSpecial::yes) out = prefix_;
  PreTokenizer::Run run(pre_tokenizer_);
  const PieceSink merge = [&](std::string_view piece) { bpe_.encode(piece, out); };
  auto place = TextPlace::at_start;
  for (const TextPart& part : raw_tokens_.split(text)) {
    if (part.token >= 0) {
      out.push_back(part.token);
    } else {
      encode_part(part.text, place, run, merge, out);
    }
    place = TextPlace::inside;
  }
  if (special == AddSpecial::yes) out.insert(out.end(), suffix_.begin(), suffix_.end());
  return out;
}

void Tokenizer::encode_part(std::string_view text, TextPlace place, PreTokenizer::Run& run, const PieceSink& merge,
                            std::vector<TokenId>& out) const {
  std::string buffer;
  for (const TextPart& part : normalized_tokens_.split(normalizer_.apply(text, buffer))) {
    if (part.token >= 0) {
      out.push_back(part.token);
    } else {
      run.split(part.text, place, merge);
    }
    place = TextPlace::inside;
  }
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, SkipSpecial skip) const {
  StreamDecoder decoder;
  std::string text;
  for (const TokenId token : tokens) text += decoder.push(*this, token, skip);
  return text + decoder.finish(*this);
}

const std::string& Tokenizer::token_bytes(TokenId token) const {
  return token >= 0 && token < vocab_size() ? bytes_[token] : no_bytes_;
}

bool Tokenizer::is_special(TokenId token) const { return token >= 0 && token < vocab_size() && is_special_[token] != 0; }

std::string StreamDecoder::push(const Tokenizer& tokenizer, TokenId token, SkipSpecial skip) {
  if (token < 0 || token >= tokenizer.vocab_size() || (skip == SkipSpecial::yes && tokenizer.is_special(token))) return {};
  const std::string& bytes = tokenizer.token_bytes(token);
  std::string text;
  if (tokenizer.byte_level_) {
    waiting_ += bytes;
    const std::size_t num_settled = settled_utf8_bytes(waiting_);
    text = utf8_lossy(std::string_view(waiting_).substr(0, num_settled));
    waiting_.erase(0, num_settled);
  } else if (tokenizer.is_raw_byte_[token] != 0) {
    waiting_ += bytes;
  } else {
    text = text_of_bytes(waiting_) + bytes;
    waiting_.clear();
  }
  strip(tokenizer, text);
  return text;
}

std::string_view StreamDecoder::pending(const Tokenizer& tokenizer) const {
  return !tokenizer.byte_level_ && is_utf8(waiting_) ? std::string_view(waiting_) : std::string_view();
}

std::string StreamDecoder::finish(const Tokenizer& tokenizer) {
  std::string text = tokenizer.byte_level_ ? utf8_lossy(waiting_) : text_of_bytes(waiting_);
  strip(tokenizer, text);
  *this = StreamDecoder();
  return text;
}

void StreamDecoder::strip(const Tokenizer& tokenizer, std::string& text) {
  if (inside_text_ || text.empty()) return;
  std::size_t num_spaces = 0;
  while (num_spaces < text.size() && text[num_spaces] == ' ' && num_stripped_ < tokenizer.num_leading_spaces_) {
    ++num_spaces;
    ++num_stripped_;
  }
  inside_text_ = num_spaces < text.size();
  text.erase(0, num_spaces);
}

}  // namespace moebius::model
