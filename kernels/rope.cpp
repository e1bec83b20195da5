// SPDX-License-Identifier: Apache-2.0
#include "kernels/rope.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

namespace {

/// The pair that turns `num_turns` times within the positions of the training; not a whole number.
double pair_of_turns(double num_turns, int head_dim, double theta, double num_positions) {
  return head_dim * std::log(num_positions / (num_turns * 2 * std::numbers::pi)) / (2 * std::log(theta));
}

}  // namespace

std::vector<double> rope_frequencies(int head_dim, double theta, const std::optional<YarnScaling>& yarn) {
  std::vector<double> frequencies(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t i = 0; i < frequencies.size(); ++i) frequencies[i] = std::pow(theta, -2.0 * static_cast<double>(i) / head_dim);
  if (!yarn) return frequencies;
  double low = pair_of_turns(yarn->beta_fast, head_dim, theta, yarn->original_max_positions);
  double high = pair_of_turns(yarn->beta_slow, head_dim, theta, yarn->original_max_positions);
  if (yarn->truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(head_dim - 1));
  if (low == high) high += 0.001;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    const double slow_part = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] *= slow_part / yarn->factor + (1.0 - slow_part);
  }
  return frequencies;
}

RopeTable::RopeTable(int head_dim, double theta, int max_positions, const std::optional<YarnScaling>& yarn)
    : head_dim_(head_dim),
      max_positions_(max_positions),
      table_(Kokkos::view_alloc(Kokkos::WithoutInitializing, "rope table"), static_cast<std::size_t>(max_positions),
             static_cast<std::size_t>(head_dim)) {
  MOEBIUS_EXPECT(head_dim > 0 && head_dim % 2 == 0 && max_positions > 0);
  const int half = head_dim / 2;
  const double magnitude = yarn ? yarn->magnitude : 1.0;
  const std::vector<double> frequencies = rope_frequencies(head_dim, theta, yarn);
  float* table = table_.data();
  for (int i = 0; i < half; ++i) {
    for (std::int64_t position = 0; position < max_positions; ++position) {
      const double angle = static_cast<double>(position) * frequencies[static_cast<std::size_t>(i)];
      table[position * head_dim + i] = static_cast<float>(magnitude * std::cos(angle));
      table[position * head_dim + half + i] = static_cast<float>(magnitude * std::sin(angle));
    }
  }
}

void apply_rope(const RopeTable& table, std::span<const int> positions, const HeadRows& heads) {
  const KernelTable& kernels = active_kernels();
  for (const int position : positions) MOEBIUS_EXPECT(position >= 0 && position < table.max_positions());
  const int half = table.head_dim() / 2;
  const HostRange tokens(0, static_cast<int>(positions.size()));
  Kokkos::parallel_for("rope", tokens, [=, &kernels, &table](const int token) {
    const float* angles = table.row(positions[static_cast<std::size_t>(token)]);
    for (int head = 0; head < heads.num_heads; ++head) {
      kernels.rope_row(angles, angles + half, half, heads.x + token * heads.row_stride + head * heads.head_stride);
    }
  });
}

}  // namespace moebius::kernels
