// SPDX-License-Identifier: Apache-2.0
#pragma once
// The gated feed-forward network of a routed expert or of a dense layer:
// down_proj(silu(gate_proj x) * up_proj x). Row by row independent, like everything it is made of.

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/activations.hpp"
#include "kernels/gemm.hpp"

namespace moebius::kernels {

/// out = silu(gate) * up in compute type. gate, up, out: [num_rows, width], dense.
void silu_mul(const float* gate, const float* up, int num_rows, int width, ComputeType type, std::byte* out);

/// The three matrices, all of one type. gate, up: [width, hidden]; down: [hidden, width].
struct ExpertFfn {
  PackedMatrix gate;
  PackedMatrix up;
  PackedMatrix down;
  [[nodiscard]] std::size_t bytes() const { return gate.bytes() + up.bytes() + down.bytes(); }
};

/// Intermediate rows of expert_ffn; grows when a call needs more, so reserve() the largest one early.
/// Not to be shared by calls that run at the same time.
class FfnScratch {
 public:
  void reserve(int num_rows, int width);
  [[nodiscard]] std::size_t bytes() const;

 private:
  friend void expert_ffn(const ExpertFfn&, RowsView, int, float*, FfnScratch&);
  std::vector<float> gate_;  // [num_rows, width]
  std::vector<float> up_;    // [num_rows, width]
  std::vector<float> product_;  // [num_rows, width] in compute type; float for its alignment
};

/// y = ffn(x). x: [num_rows, hidden] in the type of the matrices; y: [num_rows, hidden], dense.
void expert_ffn(const ExpertFfn& ffn, RowsView x, int num_rows, float* y, FfnScratch& scratch);

}  // namespace moebius::kernels
