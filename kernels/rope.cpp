// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope.hpp"

#include <cmath>

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

RopeTable::RopeTable(int head_dim, double theta, int max_positions)
    : head_dim_(head_dim),
      max_positions_(max_positions),
      table_(Kokkos::view_alloc(Kokkos::WithoutInitializing, "rope table"), static_cast<std::size_t>(max_positions),
             static_cast<std::size_t>(head_dim)) {
  MOEBIUS_EXPECT(head_dim > 0 && head_dim % 2 == 0 && max_positions > 0);
  const int half = head_dim / 2;
  float* table = table_.data();
  for (int i = 0; i < half; ++i) {
    const double frequency = std::pow(theta, -2.0 * i / head_dim);
    for (std::int64_t position = 0; position < max_positions; ++position) {
      const double angle = static_cast<double>(position) * frequency;
      table[position * head_dim + i] = static_cast<float>(std::cos(angle));
      table[position * head_dim + half + i] = static_cast<float>(std::sin(angle));
    }
  }
}

void apply_rope(const RopeTable& table, std::span<const int> positions, int num_heads, float* x,
                std::int64_t row_stride) {
  const KernelTable& kernels = active_kernels();
  for (const int position : positions) MOEBIUS_EXPECT(position >= 0 && position < table.max_positions());
  const int head_dim = table.head_dim();
  const HostRange tokens(0, static_cast<int>(positions.size()));
  Kokkos::parallel_for("rope", tokens, [=, &kernels, &table](const int token) {
    const float* angles = table.row(positions[static_cast<std::size_t>(token)]);
    for (int head = 0; head < num_heads; ++head) {
      kernels.rope_row(angles, angles + head_dim / 2, head_dim / 2,
                       x + token * row_stride + std::int64_t{head} * head_dim);
    }
  });
}

}  // namespace moebius::kernels
