// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rotary position embedding in the convention of Hugging Face (rotate_half): element i of a head turns
// together with element i + head_dim / 2, by the angle position * theta^(-2 i / head_dim).

#include <Kokkos_Core.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

namespace moebius::kernels {

/// Cosines and sines of all positions, computed in double and rounded once to float. Immutable.
class RopeTable {
 public:
  RopeTable(int head_dim, double theta, int max_positions);
  [[nodiscard]] int head_dim() const { return head_dim_; }
  [[nodiscard]] int max_positions() const { return max_positions_; }
  [[nodiscard]] std::size_t bytes() const { return table_.span() * sizeof(float); }
  /// The cosines of a position, then its sines. // [2, head_dim / 2]
  [[nodiscard]] const float* row(int position) const { return table_.data() + std::int64_t{position} * head_dim_; }

 private:
  int head_dim_;
  int max_positions_;
  Kokkos::View<float**, Kokkos::LayoutRight, Kokkos::HostSpace> table_;  // [max_positions, head_dim]
};

/// Turns x in place. x: [positions.size(), num_heads, head_dim], row_stride floats from token to token.
void apply_rope(const RopeTable& table, std::span<const int> positions, int num_heads, float* x,
                std::int64_t row_stride);

}  // namespace moebius::kernels
