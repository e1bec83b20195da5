// SPDX-License-Identifier: Apache-2.0
#include "kernels/combine.hpp"

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

void combine_experts(float* residual, std::int64_t stride, const std::int32_t* rows, int num_rows,
                     const float* expert_out, const float* weights, int k, int hidden,
                     const std::int32_t* ids) {
  MOEBIUS_EXPECT(k >= 1 && hidden >= 1);
  const KernelTable& kernels = active_kernels();
  Kokkos::parallel_for("combine", HostRange(0, num_rows), [=, &kernels](const int i) {
    const std::int64_t row = rows[i];
    int num_experts = ids == nullptr ? k : 0;
    while (num_experts < k && ids[row * k + num_experts] >= 0) ++num_experts;
    if (num_experts == 0) return;
    kernels.combine_row(residual + row * stride, expert_out + row * k * hidden, weights + row * k, num_experts, hidden);
  });
}

}  // namespace moebius::kernels
