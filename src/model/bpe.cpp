// SPDX-License-Identifier: Apache-2.0
#include "model/bpe.hpp"

#include <unicode/utf8.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <queue>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "model/byte_level.hpp"

namespace moebius::model {
namespace {

using TokenOfPiece = std::unordered_map<std::string_view, TokenId>;

std::uint64_t key_of(TokenId left, TokenId right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
}

/// A symbol of a long piece, in a doubly linked list over an array.
struct Symbol {
  TokenId token = -1;  ///< -1: merged into its left neighbour
  std::int32_t previous = -1, next = -1;
};

/// A merge that was possible when it was noted, as one number: of the lowest rank first, then of the leftmost symbol.
std::uint64_t candidate(std::uint32_t rank, std::int32_t left) { return std::uint64_t{rank} << 32 | static_cast<std::uint32_t>(left); }

TokenId id_or_none(const TokenOfPiece& ids, std::string_view piece) {
  const auto found = ids.find(piece);
  return found == ids.end() ? -1 : found->second;
}

/// The only character of `piece`; -1 where it has another number of them.
UChar32 only_char(std::string_view piece) {
  UChar32 c = -1;
  std::int32_t end = 0;
  const auto size = static_cast<std::int32_t>(piece.size());
  if (size > 0) U8_NEXT(reinterpret_cast<const std::uint8_t*>(piece.data()), end, size, c);
  return end == size ? c : -1;
}

std::vector<TokenId> tokens_of_chars(const TokenizerSpec& spec) {
  std::vector<TokenId> tokens;
  for (const auto& [piece, id] : spec.vocab) {
    const UChar32 c = only_char(piece);
    if (c < 0) continue;
    if (static_cast<std::size_t>(c) >= tokens.size()) tokens.resize(static_cast<std::size_t>(c) + 1, -1);
    tokens[static_cast<std::size_t>(c)] = id;
  }
  return tokens;
}

/// As in "<0x0A>".
std::string name_of_byte(std::size_t byte) {
  constexpr std::string_view digits = "0123456789ABCDEF";
  return {'<', '0', 'x', digits[byte / 16], digits[byte % 16], '>'};
}

std::string_view first_char(std::string_view piece) {
  std::int32_t end = 0;
  U8_FWD_1(reinterpret_cast<const std::uint8_t*>(piece.data()), end, static_cast<std::int32_t>(piece.size()));
  return piece.substr(0, static_cast<std::size_t>(end));
}

std::string_view last_char(std::string_view piece) {
  auto begin = static_cast<std::int32_t>(piece.size());
  U8_BACK_1(reinterpret_cast<const std::uint8_t*>(piece.data()), 0, begin);
  return piece.substr(static_cast<std::size_t>(begin));
}

/// The symbols that a piece can end with at a seam: the piece itself, where it is a symbol with a long
/// name, and the character there. -1: none.
std::array<TokenId, 2> seam_symbols(TokenId piece, std::string_view end, const TokenOfPiece& ids, const std::vector<TokenId>& long_named) {
  return {std::ranges::binary_search(long_named, piece) ? piece : -1, id_or_none(ids, end)};
}

/// `long_named`: ascending symbols whose names are several characters.
MergeTable seams_of(const TokenizerSpec& spec, const TokenOfPiece& ids, const std::vector<TokenId>& long_named) {
  std::vector<std::pair<TokenId, TokenId>> seams;
  for (const auto& [left, right] : spec.merges) {
    for (const TokenId a : seam_symbols(ids.at(left), last_char(left), ids, long_named)) {
      for (const TokenId b : seam_symbols(ids.at(right), first_char(right), ids, long_named)) {
        if (a >= 0 && b >= 0) seams.emplace_back(a, b);
      }
    }
  }
  std::ranges::sort(seams);
  const auto repeated = std::ranges::unique(seams);
  seams.erase(repeated.begin(), repeated.end());
  MergeTable table(seams.size());
  for (const auto& [a, b] : seams) table.insert(a, b, {0, 0});
  return table;
}

}  // namespace

MergeTable::MergeTable(std::size_t num_merges) {
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(2 * num_merges, 16));
  entries_.resize(size);
  shift_ = 64 - std::countr_zero(size);
}

std::size_t MergeTable::place_of(std::uint64_t key) const {
  // Fibonacci hashing: the upper bits of a multiplication with 2^64 / golden ratio.
  std::size_t place = static_cast<std::size_t>((key * 0x9e3779b97f4a7c15ULL) >> shift_);
  while (entries_[place].key != key && entries_[place].key != no_key) place = (place + 1) & (entries_.size() - 1);
  return place;
}

void MergeTable::insert(TokenId left, TokenId right, Merge merge) {
  const std::uint64_t key = key_of(left, right);
  entries_[place_of(key)] = {key, merge};
}

Merge MergeTable::find(TokenId left, TokenId right) const { return entries_[place_of(key_of(left, right))].merge; }

Bpe::Bpe(const TokenizerSpec& spec)
    : byte_level_(spec.byte_level),
      fuse_unknown_(spec.fuse_unknown),
      unknown_token_(spec.unknown_token),
      merges_(spec.merges.size()),
      seams_(0) {
  TokenOfPiece ids;
  ids.reserve(spec.vocab.size());
  for (const auto& [piece, id] : spec.vocab) ids.emplace(piece, id);
  token_of_byte_.fill(-1);
  for (std::size_t byte = 0; byte < 256; ++byte) {
    if (byte_level_) token_of_byte_[byte] = id_or_none(ids, byte_level_alphabet()[byte]);
    if (!byte_level_ && spec.byte_fallback) token_of_byte_[byte] = id_or_none(ids, name_of_byte(byte));
  }
  if (!byte_level_) token_of_char_ = tokens_of_chars(spec);
  for (std::size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    const auto id_of = [&](const std::string& piece) {
      if (const TokenId id = id_or_none(ids, piece); id >= 0) return id;
      throw Failure{ExitCode::unreadable_input, "model.merges[" + std::to_string(rank) + "] of tokenizer.json uses '" + piece +
                                                    "' (model.vocab has no such piece) download the file again"};
    };
    merges_.insert(id_of(left), id_of(right), {static_cast<std::uint32_t>(rank), id_of(left + right)});
  }
  seams_ = seams_of(spec, ids, symbols_with_long_names());
  if (!spec.ignore_merges) return;
  for (const auto& [piece, id] : spec.vocab) {
    // A piece with characters outside the alphabet stands for no bytes, so no text can be equal to it.
    if (auto bytes = byte_level_ ? byte_level_bytes(piece) : piece) whole_pieces_.emplace(std::move(*bytes), id);
  }
}

std::vector<TokenId> Bpe::symbols_with_long_names() const {
  std::vector<TokenId> symbols;
  if (!byte_level_) symbols.assign(token_of_byte_.begin(), token_of_byte_.end());
  symbols.push_back(unknown_token_);
  std::erase(symbols, -1);
  std::ranges::sort(symbols);
  return symbols;
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (!whole_pieces_.empty()) {
    if (const auto found = whole_pieces_.find(piece); found != whole_pieces_.end()) {
      out.push_back(found->second);
      return;
    }
  }
  const std::size_t first = out.size();
  append_symbols(piece, out);
  const std::span<TokenId> symbols = std::span(out).subspan(first);
  if (symbols.size() <= max_scanned) {
    out.resize(first + merge_by_scan(symbols));
    return;
  }
  std::size_t num_done = 0, begin = 0;  // merged symbols move to the front, the run begins at `begin`
  for (std::size_t end = 1; end <= symbols.size(); ++end) {
    if (end < symbols.size() && may_join(symbols[end - 1], symbols[end])) continue;
    const std::span<TokenId> run = symbols.subspan(begin, end - begin);
    const std::size_t num_left = run.size() <= max_scanned ? merge_by_scan(run) : merge_by_heap(run);
    std::copy_n(run.begin(), num_left, symbols.begin() + static_cast<std::ptrdiff_t>(num_done));
    num_done += num_left;
    begin = end;
  }
  out.resize(first + num_done);
}

void Bpe::append_symbols(std::string_view piece, std::vector<TokenId>& out) const {
  if (!byte_level_) return append_characters(piece, out);
  for (const char byte : piece) {
    TokenId token = token_of_byte_[static_cast<unsigned char>(byte)];
    if (token < 0) token = unknown_token_;
    if (token >= 0) out.push_back(token);
  }
}

void Bpe::append_characters(std::string_view piece, std::vector<TokenId>& out) const {
  const auto* data = reinterpret_cast<const std::uint8_t*>(piece.data());
  const auto size = static_cast<std::int32_t>(piece.size());
  // An unknown token waits for the next known character, with which the unknown ones before it end. As
  // in the tokenizers library it waits also while bytes of the fallback go past it.
  bool unknown_waits = false;
  for (std::int32_t pos = 0; pos < size;) {
    const std::int32_t begin = pos;
    UChar32 c = 0;
    U8_NEXT_UNSAFE(data, pos, c);
    const TokenId token = token_of_char(c);
    if (token < 0 && append_bytes(piece.substr(static_cast<std::size_t>(begin), static_cast<std::size_t>(pos - begin)), out)) continue;
    if (unknown_waits && (token >= 0 || !fuse_unknown_)) out.push_back(unknown_token_);
    unknown_waits = token < 0 && unknown_token_ >= 0;
    if (token >= 0) out.push_back(token);
  }
  if (unknown_waits) out.push_back(unknown_token_);
}

bool Bpe::append_bytes(std::string_view character, std::vector<TokenId>& out) const {
  const std::size_t first = out.size();
  for (const char byte : character) {
    const TokenId token = token_of_byte_[static_cast<unsigned char>(byte)];
    if (token < 0) {
      out.resize(first);
      return false;
    }
    out.push_back(token);
  }
  return true;
}

std::size_t Bpe::merge_by_scan(std::span<TokenId> symbols) const {
  if (symbols.size() < 2) return symbols.size();
  // merges[i] is that of symbols i and i + 1.
  std::size_t num_pairs = symbols.size() - 1;
  std::array<Merge, max_scanned> few;
  std::vector<Merge> many(num_pairs > few.size() ? num_pairs : 0);
  Merge* merges = many.empty() ? few.data() : many.data();
  for (std::size_t i = 0; i < num_pairs; ++i) merges[i] = merges_.find(symbols[i], symbols[i + 1]);

  while (num_pairs > 0) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < num_pairs; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == Merge::no_rank) break;
    symbols[best] = merges[best].token;
    std::copy(symbols.data() + best + 2, symbols.data() + num_pairs + 1, symbols.data() + best + 1);
    std::copy(merges + best + 1, merges + num_pairs, merges + best);
    --num_pairs;
    if (best > 0) merges[best - 1] = merges_.find(symbols[best - 1], symbols[best]);
    if (best < num_pairs) merges[best] = merges_.find(symbols[best], symbols[best + 1]);
  }
  return num_pairs + 1;
}

std::size_t Bpe::merge_by_heap(std::span<TokenId> tokens) const {
  MOEBIUS_EXPECT(tokens.size() <= std::numeric_limits<std::int32_t>::max());
  const auto num_symbols = static_cast<std::int32_t>(tokens.size());
  std::vector<Symbol> symbols(tokens.size());
  for (std::int32_t i = 0; i < num_symbols; ++i) symbols[i] = {tokens[i], i - 1, i + 1 < num_symbols ? i + 1 : -1};

  std::vector<std::uint64_t> candidates;
  candidates.reserve(tokens.size());
  for (std::int32_t i = 0; i + 1 < num_symbols; ++i) {
    const Merge merge = merges_.find(tokens[i], tokens[i + 1]);
    if (merge.rank != Merge::no_rank) candidates.push_back(candidate(merge.rank, i));
  }
  std::priority_queue<std::uint64_t, std::vector<std::uint64_t>, std::greater<>> heap(std::greater<>(), std::move(candidates));
  const auto consider = [&](std::int32_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    const Merge merge = merges_.find(symbols[left].token, symbols[symbols[left].next].token);
    if (merge.rank != Merge::no_rank) heap.push(candidate(merge.rank, left));
  };
  while (!heap.empty()) {
    const std::uint64_t top = heap.top();
    heap.pop();
    const auto at = static_cast<std::int32_t>(top & 0xffffffff);
    Symbol& left = symbols[at];
    if (left.token < 0 || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // Neighbours may have changed since: what they merge into now tells whether the candidate is still meant.
    const Merge merge = merges_.find(left.token, right.token);
    if (merge.rank != top >> 32) continue;
    left.token = merge.token;
    left.next = right.next;
    right.token = -1;
    if (left.next >= 0) symbols[left.next].previous = at;
    consider(left.previous);
    consider(at);
  }
  std::size_t num_left = 0;
  for (const Symbol& symbol : symbols) {
    if (symbol.token >= 0) tokens[num_left++] = symbol.token;
  }
  return num_left;
}

}  // namespace moebius::model
