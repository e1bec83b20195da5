// SPDX-License-Identifier: Apache-2.0
#include "model/bpe.hpp"

#include <algorithm>
#include <bit>
#include <queue>

#include "base/failure.hpp"
#include "model/byte_level.hpp"

namespace moebius::model {
namespace {

std::uint64_t key_of(TokenId left, TokenId right) {
  return (static_cast<std::uint64_t>(static_cast<std::uint32_t>(left)) << 32) | static_cast<std::uint32_t>(right);
}

/// A symbol of a long piece, in a doubly linked list over an array.
struct Symbol {
  TokenId token = -1;  ///< -1: merged into its left neighbour
  std::int64_t previous = -1, next = -1;
};

/// A merge that was possible when it was put into the heap.
struct Candidate {
  Merge merge;
  std::int64_t left = 0;  ///< the symbol
  bool operator<(const Candidate& other) const {  // std::priority_queue gives the largest first
    return merge.rank != other.merge.rank ? merge.rank > other.merge.rank : left > other.left;
  }
};

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

Bpe::Bpe(const TokenizerSpec& spec) : merges_(spec.merges.size()) {
  std::unordered_map<std::string_view, TokenId> ids;
  ids.reserve(spec.vocab.size());
  for (const auto& [piece, id] : spec.vocab) ids.emplace(piece, id);
  const auto id_of = [&](const std::string& piece, std::size_t rank) {
    const auto found = ids.find(piece);
    if (found != ids.end()) return found->second;
    throw Failure{ExitCode::unreadable_input, "model.merges[" + std::to_string(rank) + "] of tokenizer.json uses '" + piece +
                                                  "' (model.vocab has no such piece) download the file again"};
  };
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(byte_level_alphabet()[byte]);
    token_of_byte_[byte] = found == ids.end() ? -1 : found->second;
  }
  for (std::size_t rank = 0; rank < spec.merges.size(); ++rank) {
    const auto& [left, right] = spec.merges[rank];
    merges_.insert(id_of(left, rank), id_of(right, rank), {static_cast<std::uint32_t>(rank), id_of(left + right, rank)});
  }
  if (!spec.ignore_merges) return;
  for (const auto& [piece, id] : spec.vocab) {
    // A piece with characters outside the alphabet stands for no bytes, so no text can be equal to it.
    if (auto bytes = byte_level_bytes(piece)) whole_pieces_.emplace(std::move(*bytes), id);
  }
}

void Bpe::encode(std::string_view piece, std::vector<TokenId>& out) const {
  if (!whole_pieces_.empty()) {
    if (const auto found = whole_pieces_.find(piece); found != whole_pieces_.end()) {
      out.push_back(found->second);
      return;
    }
  }
  if (piece.size() <= max_scanned_bytes) {
    encode_by_scan(piece, out);
  } else {
    encode_by_heap(piece, out);
  }
}

std::vector<TokenId> Bpe::symbols_of(std::string_view piece) const {
  std::vector<TokenId> symbols;
  symbols.reserve(piece.size());
  for (const char byte : piece) {
    const TokenId token = token_of_byte_[static_cast<unsigned char>(byte)];
    if (token >= 0) symbols.push_back(token);
  }
  return symbols;
}

void Bpe::encode_by_scan(std::string_view piece, std::vector<TokenId>& out) const {
  // The symbols live at the end of `out`; merges[i] is that of symbols i and i + 1.
  const std::size_t first = out.size();
  for (const char byte : piece) {
    const TokenId token = token_of_byte_[static_cast<unsigned char>(byte)];
    if (token >= 0) out.push_back(token);
  }
  std::size_t num_pairs = out.size() - first;
  if (num_pairs < 2) return;
  --num_pairs;
  std::array<Merge, max_scanned_bytes> few{};
  std::vector<Merge> many(num_pairs > few.size() ? num_pairs : 0);
  Merge* merges = many.empty() ? few.data() : many.data();
  for (std::size_t i = 0; i < num_pairs; ++i) merges[i] = merges_.find(out[first + i], out[first + i + 1]);

  while (num_pairs > 0) {
    std::size_t best = 0;
    for (std::size_t i = 1; i < num_pairs; ++i) {
      if (merges[i].rank < merges[best].rank) best = i;
    }
    if (merges[best].rank == Merge::no_rank) return;
    const std::size_t symbol = first + best;
    out[symbol] = merges[best].token;
    out.erase(out.begin() + static_cast<std::ptrdiff_t>(symbol) + 1);
    std::copy(merges + best + 1, merges + num_pairs, merges + best);
    --num_pairs;
    if (best > 0) merges[best - 1] = merges_.find(out[symbol - 1], out[symbol]);
    if (best < num_pairs) merges[best] = merges_.find(out[symbol], out[symbol + 1]);
  }
}

void Bpe::encode_by_heap(std::string_view piece, std::vector<TokenId>& out) const {
  const std::vector<TokenId> tokens = symbols_of(piece);
  const auto num_symbols = static_cast<std::int64_t>(tokens.size());
  std::vector<Symbol> symbols(tokens.size());
  for (std::int64_t i = 0; i < num_symbols; ++i) symbols[i] = {tokens[i], i - 1, i + 1 < num_symbols ? i + 1 : -1};

  std::vector<Candidate> candidates;
  candidates.reserve(tokens.size());
  for (std::int64_t i = 0; i + 1 < num_symbols; ++i) {
    const Merge merge = merges_.find(tokens[i], tokens[i + 1]);
    if (merge.rank != Merge::no_rank) candidates.push_back({merge, i});
  }
  std::priority_queue<Candidate> heap(std::less<Candidate>(), std::move(candidates));
  const auto consider = [&](std::int64_t left) {
    if (left < 0 || symbols[left].next < 0) return;
    const Merge merge = merges_.find(symbols[left].token, symbols[symbols[left].next].token);
    if (merge.rank != Merge::no_rank) heap.push({merge, left});
  };
  while (!heap.empty()) {
    const Candidate top = heap.top();
    heap.pop();
    Symbol& left = symbols[top.left];
    if (left.token < 0 || left.next < 0) continue;
    Symbol& right = symbols[left.next];
    // Neighbours may have changed since: what they merge into now tells whether the entry is still meant.
    if (merges_.find(left.token, right.token).token != top.merge.token) continue;
    left.token = top.merge.token;
    left.next = right.next;
    right.token = -1;
    if (left.next >= 0) symbols[left.next].previous = top.left;
    consider(left.previous);
    consider(top.left);
  }
  for (const Symbol& symbol : symbols) {
    if (symbol.token >= 0) out.push_back(symbol.token);
  }
}

}  // namespace moebius::model
