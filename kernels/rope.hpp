// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rotary position embedding in the convention of Hugging Face (rotate_half): element i of a head turns
// together with element i + head_dim / 2, by the angle position * theta^(-2 i / head_dim), or as YaRN has it.

#include <Kokkos_Core.hpp>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/model_config.hpp"

namespace moebius::kernels {

/// The angle of a pair per position. YaRN (arXiv 2309.00071, section 3.2; transformers, modeling_rope_utils)
/// divides the slow ones by its factor, leaves the fast ones, and goes from one to the other in a ramp.
std::vector<double> rope_frequencies(int head_dim, double theta, const std::optional<YarnScaling>& yarn);  // [head_dim / 2]

/// Cosines and sines of all positions, computed in double and rounded once to float. Immutable.
class RopeTable {
 public:
  /// head_dim: numbers of a head that turn. Cosines and sines are multiplied by yarn's magnitude.
  RopeTable(int head_dim, double theta, int max_positions, const std::optional<YarnScaling>& yarn = {});
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

/// Heads of some tokens, table.head_dim() numbers each. Non-owning.
struct HeadRows {
  float* x = nullptr;  // [tokens, num_heads, head_dim]
  int num_heads = 0;
  std::int64_t head_stride = 0;  ///< floats from head to head
  std::int64_t row_stride = 0;   ///< floats from token to token
};

/// Turns the heads in place, token i by the angles of positions[i].
void apply_rope(const RopeTable& table, std::span<const int> positions, const HeadRows& heads);

}  // namespace moebius::kernels
