// SPDX-License-Identifier: Apache-2.0
#pragma once
// What is asked of the logits of one position: log-probabilities, the most probable tokens, a draw.
// All orders are fixed and ties go to the lowest id, so the answers are functions of the logits alone.

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "base/ids.hpp"

namespace moebius::kernels {

struct LogitsSummary {
  float max = 0;
  double log_sum_exp = 0;  ///< natural logarithm of the sum of exp(logit)
  TokenId argmax = -1;     ///< ties to the lowest id
};

/// Logits of a row are summed in chunks of this many, counted from token 0: few enough that a chunk of all rows of
/// an LM head product stays in a cache (lm_head.hpp).
inline constexpr int logits_chunk = 4096;

/// Makes the summary of a row whose chunks come one after the other. Within a chunk the exact maximum is known before
/// exponentials are taken; between chunks the sum is brought to the largest maximum so far, in double. So it is a
/// function of the logits alone, whether they were all there or not.
class LogitsSums {
 public:
  /// chunk: [logits_chunk], the last one of a row [1..logits_chunk].
  void add(std::span<const float> chunk);
  /// Not before a chunk was added.
  [[nodiscard]] LogitsSummary summary() const;

 private:
  TokenId num_added_ = 0;
  TokenId argmax_ = 0;
  float max_ = -std::numeric_limits<float>::infinity();
  double sum_ = 0;  ///< of exp(logit - max_)
};

/// logits: [vocab_size], not empty.
LogitsSummary summarise(std::span<const float> logits);

/// Natural logarithm of the softmax at `logit`.
float log_prob(const LogitsSummary& summary, float logit);

/// The k most probable tokens, descending, ties to the lowest id. ids, values: [k]; where the vocabulary
/// has fewer than k tokens the rest becomes -1 and NaN. Meant for small k.
void top_logprobs(std::span<const float> logits, int k, std::span<TokenId> ids, std::span<float> values);
/// The same, where the summary of these logits is at hand.
void top_logprobs(std::span<const float> logits, const LogitsSummary& summary, int k, std::span<TokenId> ids,
                  std::span<float> values);

/// Memory of sample(); keep one per thread, it grows to the vocabulary and stays.
struct SampleScratch {
  std::vector<float> weights;     // [vocab_size] exp((logit - max) / temperature)
  std::vector<TokenId> candidates;  // [<= vocab_size]
};

/// Draws a token. temperature <= 0: the argmax. Otherwise the filters work in the order of Hugging Face:
/// temperature, then top_k (0: all; exactly k, ties to the lowest id), then top_p (>= 1: all; the smallest
/// set of most probable tokens that reaches it), then min_p (0: all; at least min_p times the largest
/// probability). Then the inverse of the cumulative distribution over what is left, in ascending id, at
/// `uniform` in [0, 1). At least one token always remains.
TokenId sample(std::span<const float> logits, double temperature, int top_k, double top_p, double min_p, double uniform,
               SampleScratch& scratch);

}  // namespace moebius::kernels
