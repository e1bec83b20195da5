// SPDX-License-Identifier: Apache-2.0
#include "kernels/router.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

namespace {

/// The k largest of `probabilities`, by descending probability, earlier ones first among equals.
void select_topk(const float* probabilities, int num_experts, int k, std::int32_t* ids) {
  for (int expert = 0; expert < num_experts; ++expert) {
    int place = std::min(expert, k);
    if (place == k && !(probabilities[expert] > probabilities[ids[k - 1]])) continue;
    if (place == k) --place;
    while (place > 0 && probabilities[expert] > probabilities[ids[place - 1]]) {
      ids[place] = ids[place - 1];
      --place;
    }
    ids[place] = expert;
  }
}

void route_row(const KernelTable& kernels, const float* logits, int num_experts, int k, NormTopk norm,
               std::int32_t* ids, float* weights) {
  thread_local Workspace workspace;
  float* probabilities = workspace.floats(static_cast<std::size_t>(num_experts));
  kernels.exp_row(logits, kernels.max_row(logits, num_experts), 1.0F, num_experts, probabilities);
  double sum = 0;
  for (int expert = 0; expert < num_experts; ++expert) sum += static_cast<double>(probabilities[expert]);
  const auto total = static_cast<float>(sum);
  for (int expert = 0; expert < num_experts; ++expert) probabilities[expert] /= total;
  select_topk(probabilities, num_experts, k, ids);
  std::sort(ids, ids + k);
  float topk_sum = 0;
  for (int k_idx = 0; k_idx < k; ++k_idx) topk_sum += probabilities[ids[k_idx]];
  const float divisor = norm == NormTopk::renormalise ? topk_sum : 1.0F;
  for (int k_idx = 0; k_idx < k; ++k_idx) weights[k_idx] = probabilities[ids[k_idx]] / divisor;
}

}  // namespace

void route_topk(const float* logits, int num_rows, int num_experts, int k, NormTopk norm, std::int32_t* ids,
                float* weights) {
  MOEBIUS_EXPECT(k >= 1 && k <= num_experts);
  const KernelTable& kernels = active_kernels();
  Kokkos::parallel_for("route_topk", HostRange(0, num_rows), [=, &kernels](const int row) {
    const std::int64_t out = std::int64_t{row} * k;
    route_row(kernels, logits + std::int64_t{row} * num_experts, num_experts, k, norm, ids + out, weights + out);
  });
}

}  // namespace moebius::kernels
