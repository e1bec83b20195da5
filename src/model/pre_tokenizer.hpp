// SPDX-License-Identifier: Apache-2.0
#pragma once
// Cuts ordinary text into the pieces that BPE then works on, one after the other. The steps are those of
// tokenizer.json: any number of Split, and Metaspace before or ByteLevel behind them. Pieces stay bytes
// of UTF-8 here; the printable characters that ByteLevel writes for bytes exist only in the tables
// (byte_level.hpp).

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/tokenizer_spec.hpp"
#include "model/regex_splitter.hpp"

namespace moebius::model {

/// Where a text stands in what was given to the tokenizer.
enum class TextPlace : std::uint8_t { at_start, inside };

class PreTokenizer {
 public:
  /// Throws Failure(unreadable_input) where Metaspace is not the first step or ByteLevel not the last.
  explicit PreTokenizer(const std::vector<PreTokenizerStep>& steps);
  [[nodiscard]] bool is_byte_level() const { return byte_level_; }

  /// What one encoding needs to run the steps. The PreTokenizer must outlive it.
  class Run {
   public:
    explicit Run(const PreTokenizer& owner);
    /// `text`: valid UTF-8 without added tokens.
    void split(std::string_view text, TextPlace place, const PieceSink& sink);

   private:
    void apply(std::size_t split_idx, std::string_view text, const PieceSink& sink);
    const PreTokenizer& owner_;
    std::vector<RegexSplitter::Matcher> matchers_;  // [splitters]
  };

 private:
  std::vector<RegexSplitter> splitters_;
  PreTokenizerStep metaspace_, byte_level_step_;
  bool has_metaspace_ = false, byte_level_ = false;
};

}  // namespace moebius::model
