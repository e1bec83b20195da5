// SPDX-License-Identifier: Apache-2.0
#pragma once
// The normaliser of a tokenizer: the steps of tokenizer.json, in order, over a text or a part of one.

#include <string>
#include <string_view>
#include <vector>

#include "base/tokenizer_spec.hpp"

namespace moebius::model {

/// `text` with every `what.from` replaced, from the left and without overlap.
std::string replaced(std::string_view text, const Replacement& what);

class Normalizer {
 public:
  explicit Normalizer(std::vector<NormalizerStep> steps) : steps_(std::move(steps)) {}

  /// `text`: valid UTF-8. The result is `text` itself or lives in `buffer`. Throws
  /// Failure(internal_error) where ICU has no data.
  [[nodiscard]] std::string_view apply(std::string_view text, std::string& buffer) const;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace moebius::model
