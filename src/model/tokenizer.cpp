// SPDX-License-Identifier: Apache-2.0
#include "model/tokenizer.hpp"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "model/byte_level.hpp"

namespace moebius::model {
namespace {

void check_icu(UErrorCode status, const char* what) {
  if (U_SUCCESS(status)) return;
  throw Failure{ExitCode::internal_error, std::string("ICU failed in ") + what + " (" + u_errorName(status) +
                                              ") check that its data files are installed"};
}

/// NFC of valid UTF-8. `buffer` holds the result where it differs from `text`.
std::string_view to_nfc(std::string_view text, std::string& buffer) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
  check_icu(status, "getNFCInstance");
  const icu::StringPiece source(text.data(), static_cast<std::int32_t>(text.size()));
  const bool is_nfc = nfc->isNormalizedUTF8(source, status);
  check_icu(status, "isNormalizedUTF8");
  if (is_nfc) return text;
  buffer.clear();
  icu::StringByteSink<std::string> sink(&buffer, static_cast<std::int32_t>(text.size()));
  nfc->normalizeUTF8(0, source, sink, nullptr, status);
  check_icu(status, "normalizeUTF8");
  return buffer;
}

std::string_view normalize(NormalizerKind kind, std::string_view text, std::string& buffer) {
  return kind == NormalizerKind::nfc ? to_nfc(text, buffer) : text;
}

enum class Pass : std::uint8_t { before_normalizing, after_normalizing };

/// The added tokens of one pass; those of the second are looked for in their normalised form. Special
/// tokens come first, which decides between two that have become equal.
std::vector<AddedToken> tokens_of_pass(const TokenizerSpec& spec, Pass pass) {
  std::vector<AddedToken> tokens;
  for (AddedToken token : spec.added_tokens) {
    if (token.content.empty()) {
      throw Failure{ExitCode::unreadable_input, "added token " + std::to_string(token.id) +
                                                    " of tokenizer.json is empty (no text could match it) mend the file"};
    }
    if (token.normalized != (pass == Pass::after_normalizing)) continue;
    if (std::string buffer; token.normalized) token.content = std::string(normalize(spec.normalizer, token.content, buffer));
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

/// What a token stands for when it is decoded: ByteLevel reads its characters as bytes where all are of
/// the alphabet, and takes them as they are otherwise.
std::string bytes_of(const std::string& content) { return byte_level_bytes(content).value_or(content); }

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
      suffix_(std::move(spec.suffix_special_ids)) {
  const auto num_ids = static_cast<std::size_t>(largest_id(spec) + 1);
  bytes_.resize(num_ids);
  is_special_.assign(num_ids, 0);
  for (const auto& [piece, id] : spec.vocab) {
    require_id(id);
    bytes_[id] = bytes_of(piece);
  }
  for (const AddedToken& token : spec.added_tokens) {
    require_id(token.id);
    std::string buffer;
    bytes_[token.id] = bytes_of(token.normalized ? std::string(normalize(normalizer_, token.content, buffer)) : token.content);
    is_special_[token.id] = token.special ? 1 : 0;
  }
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
  std::string buffer;
  for (const TextPart& part : raw_tokens_.split(text)) {
    if (part.token >= 0) {
      out.push_back(part.token);
    } else {
      encode_normalized(normalize(normalizer_, part.text, buffer), run, merge, out);
    }
  }
  if (special == AddSpecial::yes) out.insert(out.end(), suffix_.begin(), suffix_.end());
  return out;
}

void Tokenizer::encode_normalized(std::string_view text, PreTokenizer::Run& run, const PieceSink& merge,
                                  std::vector<TokenId>& out) const {
  for (const TextPart& part : normalized_tokens_.split(text)) {
    if (part.token >= 0) {
      out.push_back(part.token);
    } else {
      run.split(part.text, merge);
    }
  }
}

std::string Tokenizer::decode(std::span<const TokenId> tokens, SkipSpecial skip) const {
  std::string bytes;
  for (const TokenId token : tokens) {
    if (skip == SkipSpecial::no || !is_special(token)) bytes += token_bytes(token);
  }
  return utf8_lossy(bytes);
}

const std::string& Tokenizer::token_bytes(TokenId token) const {
  return token >= 0 && token < vocab_size() ? bytes_[token] : no_bytes_;
}

bool Tokenizer::is_special(TokenId token) const { return token >= 0 && token < vocab_size() && is_special_[token] != 0; }

std::string StreamDecoder::push(TokenId token) {
  if (skip_ == SkipSpecial::yes && tokenizer_.is_special(token)) return {};
  pending_ += tokenizer_.token_bytes(token);
  const std::size_t num_settled = settled_utf8_bytes(pending_);
  std::string text = utf8_lossy(std::string_view(pending_).substr(0, num_settled));
  pending_.erase(0, num_settled);
  return text;
}

std::string StreamDecoder::finish() {
  std::string text = utf8_lossy(pending_);
  pending_.clear();
  return text;
}

}  // namespace moebius::model
