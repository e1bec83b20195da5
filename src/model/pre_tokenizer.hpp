// SPDX-License-Identifier: Apache-2.0
#pragma once
// Cuts ordinary text into the pieces that BPE then works on, one after the other. The steps are those of
// tokenizer.json: any number of Split, then one ByteLevel. Pieces stay bytes of UTF-8 here; the printable
// characters that ByteLevel writes for bytes exist only in the tables (byte_level.hpp).

#include <string_view>
#include <vector>

#include "base/tokenizer_spec.hpp"
#include "model/regex_splitter.hpp"

namespace moebius::model {

class PreTokenizer {
 public:
  /// Throws Failure(unreadable_input) where the last step, and only that, is not ByteLevel.
  explicit PreTokenizer(const std::vector<PreTokenizerStep>& steps);

  /// What one encoding needs to run the steps. The PreTokenizer must outlive it.
  class Run {
   public:
    explicit Run(const PreTokenizer& owner);
    /// `text`: valid UTF-8 without added tokens.
    void split(std::string_view text, const PieceSink& sink) { apply(0, text, sink); }

   private:
    void apply(std::size_t step_idx, std::string_view text, const PieceSink& sink);
    const PreTokenizer& owner_;
    std::vector<RegexSplitter::Matcher> matchers_;  // [splitters]
  };

 private:
  std::vector<RegexSplitter> splitters_;
  PreTokenizerStep byte_level_;
};

}  // namespace moebius::model
