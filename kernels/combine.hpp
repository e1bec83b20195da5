// SPDX-License-Identifier: Apache-2.0
#pragma once
// The weighted sum of expert outputs, in one order: k_idx ascending, which is ascending expert id.

#include <cstdint>

namespace moebius::kernels {

/// residual[row] += sum over k_idx of weights[row][k_idx] * expert_out[row][k_idx], for each id in `rows`.
/// The sum is taken in fp32 from k_idx = 0 up and added to the residual once.
/// rows: [num_rows] distinct ids; residual: [row][hidden], `stride` floats from row to row;
/// expert_out: [row][k][hidden]; weights: [row][k]; ids: [row][k], where given, the sum of a row ends before its first
/// negative id.
void combine_experts(float* residual, std::int64_t stride, const std::int32_t* rows, int num_rows,
                     const float* expert_out, const float* weights, int k, int hidden,
                     const std::int32_t* ids = nullptr);

}  // namespace moebius::kernels
