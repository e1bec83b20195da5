// SPDX-License-Identifier: Apache-2.0
#pragma once
// Cuts a text by a regular expression of tokenizer.json, behaviour "Isolated": matches and what stands
// between them become pieces. ICU runs the expression; the patterns are written for the Oniguruma
// library (Ruby syntax), so they are translated where the two read the same pattern differently:
//   \s, \S   the Unicode property White_Space, in classes and outside
//   ^ $ .    line borders everywhere, and only \n ends a line
// A pattern is compiled once; each encoding makes its own Matcher, so that encoding is const.

#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace moebius::model {

/// Receives the pieces of a text in order; the view is valid during the call only.
using PieceSink = std::function<void(std::string_view)>;

/// The pattern as ICU has to see it.
std::string icu_pattern(std::string_view pattern);

class RegexSplitter {
 public:
  /// Throws Failure(unreadable_input) naming the pattern where ICU does not understand it.
  explicit RegexSplitter(const std::string& pattern);
  ~RegexSplitter();
  RegexSplitter(RegexSplitter&&) noexcept;

  /// The state of one user of the pattern. The splitter must outlive it.
  class Matcher {
   public:
    explicit Matcher(const RegexSplitter& splitter);
    ~Matcher();
    Matcher(Matcher&&) noexcept;
    /// `text`: valid UTF-8. Its pieces, none empty, together the whole text.
    void split(std::string_view text, const PieceSink& sink);

   private:
    struct State;
    std::unique_ptr<State> state_;
  };

 private:
  struct Compiled;
  std::unique_ptr<Compiled> compiled_;
};

}  // namespace moebius::model
