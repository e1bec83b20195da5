// SPDX-License-Identifier: Apache-2.0
#include "kernels/norm.hpp"

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

void rms_norm(const float* x, std::int64_t x_stride, std::span<const float> weight, float eps, int num_rows, float* y,
              std::int64_t y_stride) {
  MOEBIUS_EXPECT(!weight.empty());
  const KernelTable& kernels = active_kernels();
  Kokkos::parallel_for("rms_norm", HostRange(0, num_rows), [=, &kernels](const int row) {
    kernels.rms_norm_row(x + row * x_stride, weight.data(), static_cast<std::int64_t>(weight.size()), eps,
                         y + row * y_stride);
  });
}

}  // namespace moebius::kernels
