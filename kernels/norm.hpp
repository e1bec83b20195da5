// SPDX-License-Identifier: Apache-2.0
#pragma once
// Root-mean-square normalisation. A row's sum of squares is taken in sixteen lanes (index modulo 16) and
// one fixed tree, so a row's bits do not depend on its neighbours.

#include <cstdint>
#include <span>

namespace moebius::kernels {

/// y = x / sqrt(mean(x^2) + eps) * weight. x, y: [num_rows, weight.size()], strides in floats; y may be x.
/// A row is a hidden state, or one head (stride = head_dim) for the norms of queries and keys.
void rms_norm(const float* x, std::int64_t x_stride, std::span<const float> weight, float eps, int num_rows, float* y,
              std::int64_t y_stride);

}  // namespace moebius::kernels
