// SPDX-License-Identifier: Apache-2.0
#pragma once
// Byte-pair encoding of one piece: begin with its symbols, then merge the neighbours of the lowest rank
// (ties to the leftmost) until no rank is left. Symbols are bytes (byte_level.hpp) or characters. Short
// pieces are merged by scanning, long ones with a heap over a linked list in O(n log n), to the same
// tokens. Const after construction.
//
// Tokenizers without a pre-tokenizer make one piece of a whole text. It is cut first where no merge can
// join: a merge (L, R) joins the last symbol of L and the first of R, so two neighbours that no merge has
// at its seam stay apart whatever is merged beside them. In published vocabularies that cuts at words.

#include <array>
#include <cstdint>
#include <span>
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

/// (left, right) -> Merge; open addressing, since every encoded symbol asks several times.
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
  /// Up to this many symbols scanning is faster than a heap (measured on English text).
  static constexpr std::size_t max_scanned = 32;

  /// Throws Failure(unreadable_input) where a merge names a piece that the vocabulary does not have.
  explicit Bpe(const TokenizerSpec& spec);

  /// Append the tokens of `piece` (valid UTF-8, or bytes where pieces are byte-level).
  void encode(std::string_view piece, std::vector<TokenId>& out) const;

  /// The steps of `encode`, for tests: the symbols that merging begins with, ...
  void append_symbols(std::string_view piece, std::vector<TokenId>& out) const;
  /// ... whether any merge has these two symbols at its seam, ...
  [[nodiscard]] bool may_join(TokenId left, TokenId right) const { return seams_.find(left, right).rank != Merge::no_rank; }
  /// ... and the two ways to merge, in place, to the same result; they return how many symbols are left.
  std::size_t merge_by_scan(std::span<TokenId> symbols) const;
  std::size_t merge_by_heap(std::span<TokenId> symbols) const;

 private:
  struct TextHash : std::hash<std::string_view> {
    using is_transparent = void;
  };
  /// Bytes of the fallback and the unknown token, ascending.
  [[nodiscard]] std::vector<TokenId> symbols_with_long_names() const;
  void append_characters(std::string_view piece, std::vector<TokenId>& out) const;
  [[nodiscard]] TokenId token_of_char(std::int32_t c) const {
    return static_cast<std::size_t>(c) < token_of_char_.size() ? token_of_char_[static_cast<std::size_t>(c)] : -1;
  }
  /// Append the byte tokens of a character; false where the vocabulary lacks one of them.
  bool append_bytes(std::string_view character, std::vector<TokenId>& out) const;

  bool byte_level_, fuse_unknown_;
  TokenId unknown_token_;
  std::array<TokenId, 256> token_of_byte_{};  // -1: not in the vocabulary
  std::vector<TokenId> token_of_char_;        // [largest character + 1], where pieces are characters
  MergeTable merges_;
  MergeTable seams_;  // (last symbol of left, first symbol of right) of every merge
  std::unordered_map<std::string, TokenId, TextHash, std::equal_to<>> whole_pieces_;  // with ignore_merges only
};

}  // namespace moebius::model
