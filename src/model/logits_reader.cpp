// SPDX-License-Identifier: Apache-2.0
#include "model/logits_reader.hpp"

#include "base/check.hpp"

namespace moebius::model {

void LogitsReader::read(std::span<const float> logits) {
  logits_ = logits;
  summary_ = kernels::summarise(logits);
}

float LogitsReader::log_prob(TokenId token) const {
  MOEBIUS_EXPECT(token >= 0 && static_cast<std::size_t>(token) < logits_.size());
  return kernels::log_prob(summary_, logits_[static_cast<std::size_t>(token)]);
}

void LogitsReader::top(std::span<TokenId> ids, std::span<float> logprobs) const {
  kernels::top_logprobs(logits_, summary_, static_cast<int>(ids.size()), ids, logprobs);
}

TokenId LogitsReader::sample(const SamplingOptions& options, double uniform) {
  return kernels::sample(logits_, options.temperature, options.top_k, options.top_p, options.min_p, uniform, scratch_);
}

}  // namespace moebius::model
