// SPDX-License-Identifier: Apache-2.0
#pragma once
// The LM head of positions of which only some log-probabilities are asked: the product, log-softmax and the gathering
// of the wanted logits in one pass over the weights, so that logits exist for a chunk of the vocabulary at a time.
// Same bits as gemm followed by summarise (logits.hpp) of each row.

#include <span>

#include "kernels/activations.hpp"
#include "kernels/gemm.hpp"
#include "kernels/logits.hpp"

namespace moebius::kernels {

/// A logit to be kept.
struct WantedLogit {
  int row = 0;        ///< of x
  TokenId token = 0;
  float logit = 0;    ///< set by summarise_head
};

/// Summaries of the logits x * lm_head^T and the wanted ones of them. x: [summaries.size(), lm_head.num_in()] in the
/// type of lm_head. Uses scratch of the calling thread that grows to the largest call and stays.
void summarise_head(const PackedMatrix& lm_head, RowsView x, std::span<LogitsSummary> summaries, std::span<WantedLogit> wanted);

}  // namespace moebius::kernels
