// SPDX-License-Identifier: Apache-2.0
#pragma once
// Byte-pair encoding of one piece: begin with its bytes, then merge the neighbours of the lowest rank
// (ties to the leftmost) until no rank is left. Pieces are bytes, see byte_level.hpp. Short pieces are
// merged by scanning, long ones with a heap over a linked list in O(n log n), to the same tokens.
// Const after construction. A byte that the vocabulary does not have vanishes, as in the tokenizers
// library without an unknown token.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/tokenizer_spec.hpp"

namespace moebius::model {

/// What two neighbours become.
struct Merge {
  std::uint32_t rank = no_rank;
  TokenId token = -1;
  static constexpr std::uint32_t no_rank = UINT32_MAX;
};

/// (left, right) -> Merge; open addressing, since every encoded byte asks several times.
class MergeTable {
 public:
  explicit MergeTable(std::size_t num_merges);
  /// A later entry for the same pair replaces the earlier one.
  void insert(TokenId left, TokenId right, Merge merge);
  /// Rank no_rank where the two do not merge.
  [[nodiscard]] Merge find(TokenId left, TokenId right) const;

 private:
  struct Entry {
    std::uint64_t key = no_key;
    Merge merge;
  };
  static constexpr std::uint64_t no_key = UINT64_MAX;
  [[nodiscard]] std::size_t place_of(std::uint64_t key) const;
  std::vector<Entry> entries_;  // a power of two, at most half full
  int shift_;
};

class Bpe {
 public:
  /// Up to this many bytes scanning is faster than a heap (measured on English text).
  static constexpr std::size_t max_scanned_bytes = 32;

  /// Throws Failure(unreadable_input) where a merge names a piece that the vocabulary does not have.
  explicit Bpe(const TokenizerSpec& spec);

  /// Append the tokens of `piece`.
  void encode(std::string_view piece, std::vector<TokenId>& out) const;
  /// The two ways to merge; any length, the same result. Without ignore_merges.
  void encode_by_scan(std::string_view piece, std::vector<TokenId>& out) const;
  void encode_by_heap(std::string_view piece, std::vector<TokenId>& out) const;

 private:
  struct TextHash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  [[nodiscard]] std::vector<TokenId> symbols_of(std::string_view piece) const;

  std::array<TokenId, 256> token_of_byte_{};  // -1: not in the vocabulary
  MergeTable merges_;
  std::unordered_map<std::string, TokenId, TextHash, std::equal_to<>> whole_pieces_;  // with ignore_merges only
};

}  // namespace moebius::model
