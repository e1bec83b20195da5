// SPDX-License-Identifier: Apache-2.0
#pragma once
// Top-k of the router, in fp32. Ties go to the lower expert id, and of groups to the lower group.

#include <cstdint>
#include <span>

#include "base/model_config.hpp"

namespace moebius::kernels {

/// Scores of all experts (softmax or sigmoid of the logits), plus the bias for the choice; of the best
/// options.topk_groups groups the k best experts, listed by ascending expert id; weights from the scores without
/// the bias. Source: transformers, DeepseekV2TopkRouter, DeepseekV3TopkRouter; with one group the router of
/// all other families.
/// logits: [num_rows, num_experts]; bias: [num_experts] or empty; ids, weights: [num_rows, k];
/// 1 <= k <= topk_groups * num_experts / num_groups. The ids are always distinct and in range, also where logits
/// are not numbers.
void route_topk(const RouterOptions& options, std::span<const float> bias, const float* logits, int num_rows,
                int num_experts, int k, std::int32_t* ids, float* weights);

}  // namespace moebius::kernels
