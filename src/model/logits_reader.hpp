// SPDX-License-Identifier: Apache-2.0
#pragma once
// What may be asked of the logits of one position. Reads them once, keeps no copy: valid until the next
// read(), as long as the logits live.

#include <span>
#include <vector>

#include "base/request.hpp"
#include "kernels/lm_head.hpp"
#include "kernels/logits.hpp"

namespace moebius::model {

/// What AttentionStack::summarise_head makes of positions of which only log-probabilities are asked.
using kernels::log_prob;
using kernels::LogitsSummary;
using kernels::WantedLogit;

class LogitsReader {
 public:
  /// logits: [vocab_size], fp32.
  void read(std::span<const float> logits);
  /// Most probable token, ties to the lowest id.
  [[nodiscard]] TokenId argmax() const { return summary_.argmax; }
  /// Natural logarithm of softmax(logits)[token].
  [[nodiscard]] float log_prob(TokenId token) const;
  /// The most probable tokens, descending, ties to the lowest id; as many as the spans are long.
  /// Where the vocabulary is smaller, the rest becomes -1 and NaN.
  void top(std::span<TokenId> ids, std::span<float> logprobs) const;
  /// One draw under `options`; `uniform` in [0, 1). Temperature 0 is argmax.
  TokenId sample(const SamplingOptions& options, double uniform);

 private:
  std::span<const float> logits_;
  kernels::LogitsSummary summary_{};
  kernels::SampleScratch scratch_;
};

}  // namespace moebius::model
