// SPDX-License-Identifier: Apache-2.0
#include "model/regex_splitter.hpp"

#include <unicode/regex.h>
#include <unicode/unistr.h>
#include <unicode/ustring.h>
#include <unicode/utf16.h>
#include <unicode/utf8.h>

#include <vector>

#include "base/check.hpp"
#include "base/failure.hpp"

namespace moebius::model {
namespace {

[[noreturn]] void refuse(const std::string& pattern, const std::string& why) {
  throw Failure{ExitCode::unreadable_input, "pre_tokenizer pattern '" + pattern + "' of tokenizer.json cannot be used (" +
                                                why + ") use a tokenizer with another pattern"};
}

/// Counts how many bytes of UTF-8 the UTF-16 units [from, to) stand for.
std::size_t utf8_length(const std::vector<char16_t>& units, std::int32_t from, std::int32_t to) {
  std::size_t num_bytes = 0;
  for (std::int32_t i = from; i < to;) {
    UChar32 c = 0;
    U16_NEXT_UNSAFE(units.data(), i, c);
    num_bytes += static_cast<std::size_t>(U8_LENGTH(c));
  }
  return num_bytes;
}

}  // namespace

std::string icu_pattern(std::string_view pattern) {
  std::string result;
  int class_depth = 0;
  for (std::size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\' && i + 1 < pattern.size()) {
      const char escaped = pattern[++i];
      if (escaped == 's' || escaped == 'S') {
        const std::string property = escaped == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
        // The brackets let ICU run \s+ as a loop over a set, in constant memory.
        result += class_depth > 0 ? property : std::string("[").append(property).append("]");
      } else {
        result += c;
        result += escaped;
      }
      continue;
    }
    if (c == '[') ++class_depth;
    if (c == ']' && class_depth > 0) --class_depth;
    result += c;
  }
  return result;
}

struct RegexSplitter::Compiled {
  std::string source;
  std::unique_ptr<icu::RegexPattern> pattern;
};

RegexSplitter::RegexSplitter(const std::string& pattern) : compiled_(std::make_unique<Compiled>()) {
  UErrorCode status = U_ZERO_ERROR;
  UParseError where{};
  compiled_->source = pattern;
  compiled_->pattern.reset(icu::RegexPattern::compile(icu::UnicodeString::fromUTF8(icu_pattern(pattern)),
                                                      UREGEX_MULTILINE | UREGEX_UNIX_LINES, where, status));
  if (U_FAILURE(status)) refuse(pattern, std::string("ICU says ") + u_errorName(status));
}

RegexSplitter::~RegexSplitter() = default;
RegexSplitter::RegexSplitter(RegexSplitter&&) noexcept = default;

struct RegexSplitter::Matcher::State {
  const Compiled* compiled = nullptr;
  std::unique_ptr<icu::RegexMatcher> matcher;
  std::vector<char16_t> units;  // the text in UTF-16, as ICU is fastest with
  icu::UnicodeString text;      // looks at `units`
};

RegexSplitter::Matcher::Matcher(const RegexSplitter& splitter) : state_(std::make_unique<State>()) {
  UErrorCode status = U_ZERO_ERROR;
  state_->compiled = splitter.compiled_.get();
  state_->matcher.reset(splitter.compiled_->pattern->matcher(status));
  // No limit on the backtracking memory: a long run of one kind of character is no error.
  if (U_SUCCESS(status)) state_->matcher->setStackLimit(0, status);
  if (U_FAILURE(status)) refuse(state_->compiled->source, std::string("ICU says ") + u_errorName(status));
}

RegexSplitter::Matcher::~Matcher() = default;
RegexSplitter::Matcher::Matcher(Matcher&&) noexcept = default;

void RegexSplitter::Matcher::split(std::string_view text, const PieceSink& sink) {
  State& state = *state_;
  UErrorCode status = U_ZERO_ERROR;
  std::int32_t num_units = 0;
  state.units.resize(text.size());  // UTF-16 never has more units than UTF-8 has bytes
  u_strFromUTF8(state.units.data(), static_cast<std::int32_t>(state.units.size()), &num_units, text.data(),
                static_cast<std::int32_t>(text.size()), &status);
  MOEBIUS_EXPECT(status == U_ZERO_ERROR || status == U_STRING_NOT_TERMINATED_WARNING);
  status = U_ZERO_ERROR;
  state.text.setTo(false, state.units.data(), num_units);
  state.matcher->reset(state.text);

  std::int32_t done_units = 0;
  std::size_t done_bytes = 0;
  const auto emit_until = [&](std::int32_t end_units) {
    if (end_units == done_units) return;
    const std::size_t num_bytes = utf8_length(state.units, done_units, end_units);
    sink(text.substr(done_bytes, num_bytes));
    done_units = end_units;
    done_bytes += num_bytes;
  };
  while (state.matcher->find(status)) {
    emit_until(state.matcher->start(status));
    emit_until(state.matcher->end(status));
  }
  if (U_FAILURE(status)) refuse(state.compiled->source, std::string("ICU stopped with ") + u_errorName(status));
  emit_until(num_units);
}

}  // namespace moebius::model
