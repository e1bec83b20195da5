// SPDX-License-Identifier: Apache-2.0
#include "model/pre_tokenizer.hpp"

#include <string>

#include "base/failure.hpp"
#include "model/gpt2_splitter.hpp"
#include "model/normalizer.hpp"

namespace moebius::model {
namespace {

using Kind = PreTokenizerStep::Kind;
constexpr std::string_view metaspace = "\xe2\x96\x81";  // U+2581

[[noreturn]] void refuse_order(const char* why) {
  throw Failure{ExitCode::unreadable_input,
                std::string("pre_tokenizer of tokenizer.json cannot be used (") + why + ") use another tokenizer"};
}

/// Pieces that begin at a U+2581 each; what stands before the first is one, too.
void cut_at_metaspaces(std::string_view text, const PieceSink& sink) {
  while (!text.empty()) {
    const std::size_t size = std::min(text.find(metaspace, 1), text.size());
    sink(text.substr(0, size));
    text.remove_prefix(size);
  }
}

}  // namespace

PreTokenizer::PreTokenizer(const std::vector<PreTokenizerStep>& steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const PreTokenizerStep& step = steps[i];
    if (step.kind == Kind::split) {
      splitters_.emplace_back(step.pattern);
    } else if (step.kind == Kind::metaspace) {
      if (i > 0) refuse_order("Metaspace must be its first step and stand nowhere else");
      metaspace_ = step;
      has_metaspace_ = true;
    } else {
      if (i + 1 < steps.size()) refuse_order("ByteLevel must be its last step and stand nowhere else");
      byte_level_step_ = step;
      byte_level_ = true;
    }
  }
  if (has_metaspace_ && byte_level_) refuse_order("Metaspace and ByteLevel do not go together");
}

PreTokenizer::Run::Run(const PreTokenizer& owner) : owner_(owner) {
  matchers_.reserve(owner.splitters_.size());
  for (const RegexSplitter& splitter : owner.splitters_) matchers_.emplace_back(splitter);
}

void PreTokenizer::Run::split(std::string_view text, TextPlace place, const PieceSink& sink) {
  if (!owner_.has_metaspace_) return apply(0, text, sink);
  using Prepend = PreTokenizerStep::PrependScheme;
  const Prepend scheme = owner_.metaspace_.prepend_scheme;
  std::string marked = replaced(text, {" ", std::string(metaspace)});
  const bool prepend = scheme == Prepend::always || (scheme == Prepend::first && place == TextPlace::at_start);
  if (prepend && !marked.starts_with(metaspace)) marked.insert(0, metaspace);
  if (!owner_.metaspace_.cut_at_spaces) return apply(0, marked, sink);
  cut_at_metaspaces(marked, [&](std::string_view piece) { apply(0, piece, sink); });
}

void PreTokenizer::Run::apply(std::size_t split_idx, std::string_view text, const PieceSink& sink) {
  if (text.empty()) return;
  if (split_idx < matchers_.size()) {
    matchers_[split_idx].split(text, [&](std::string_view piece) { apply(split_idx + 1, piece, sink); });
    return;
  }
  if (!owner_.byte_level_) return sink(text);
  std::string with_space;
  if (owner_.byte_level_step_.add_prefix_space && text.front() != ' ') {
    with_space.reserve(text.size() + 1);
    with_space += ' ';
    with_space += text;
    text = with_space;
  }
  if (owner_.byte_level_step_.use_regex) {
    split_as_gpt2(text, sink);
  } else {
    sink(text);
  }
}

}  // namespace moebius::model
