// SPDX-License-Identifier: Apache-2.0
#pragma once
// Top-k of the router, in fp32. Ties go to the lower expert id.

#include <cstdint>

namespace moebius::kernels {

/// What becomes of the k probabilities: as they are, or divided by their sum.
enum class NormTopk { keep, renormalise };

/// Softmax over all experts, the k most probable ones, listed by ascending expert id.
/// logits: [num_rows, num_experts]; ids, weights: [num_rows, k]; 1 <= k <= num_experts.
/// The ids are always distinct and in range, also where logits are not numbers.
void route_topk(const float* logits, int num_rows, int num_experts, int k, NormTopk norm, std::int32_t* ids,
                float* weights);

}  // namespace moebius::kernels
