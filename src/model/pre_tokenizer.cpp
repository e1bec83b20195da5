// SPDX-License-Identifier: Apache-2.0
#include "model/pre_tokenizer.hpp"

#include <string>

#include "base/failure.hpp"
#include "model/gpt2_splitter.hpp"

namespace moebius::model {

PreTokenizer::PreTokenizer(const std::vector<PreTokenizerStep>& steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const bool is_split = steps[i].kind == PreTokenizerStep::Kind::split;
    if (is_split == (i + 1 == steps.size())) {
      throw Failure{ExitCode::unreadable_input, "pre_tokenizer of tokenizer.json cannot be used (ByteLevel must be its last "
                                                "step and stand nowhere else) use a byte-level BPE tokenizer"};
    }
    if (is_split) splitters_.emplace_back(steps[i].pattern);
  }
  if (steps.empty()) {
    throw Failure{ExitCode::unreadable_input, "pre_tokenizer of tokenizer.json is empty (a byte-level BPE tokenizer has a "
                                              "ByteLevel step) use a byte-level BPE tokenizer"};
  }
  byte_level_ = steps.back();
}

PreTokenizer::Run::Run(const PreTokenizer& owner) : owner_(owner) {
  matchers_.reserve(owner.splitters_.size());
  for (const RegexSplitter& splitter : owner.splitters_) matchers_.emplace_back(splitter);
}

void PreTokenizer::Run::apply(std::size_t step_idx, std::string_view text, const PieceSink& sink) {
  if (text.empty()) return;
  if (step_idx < matchers_.size()) {
    matchers_[step_idx].split(text, [&](std::string_view piece) { apply(step_idx + 1, piece, sink); });
    return;
  }
  std::string with_space;
  if (owner_.byte_level_.add_prefix_space && text.front() != ' ') {
    with_space.reserve(text.size() + 1);
    with_space += ' ';
    with_space += text;
    text = with_space;
  }
  if (owner_.byte_level_.use_regex) {
    split_as_gpt2(text, sink);
  } else {
    sink(text);
  }
}

}  // namespace moebius::model
