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

/// The three matrices, all of one type. gate, up: [width, hidden]; down: [hidden, width].
struct ExpertFfn {
  PackedMatrix gate;
  PackedMatrix up;
  PackedMatrix down;
  [[nodiscard]] std::size_t bytes() const { return gate.bytes() + up.bytes() + down.bytes(); }
};

/// silu(gate) * up of a block of rows; grows when a call needs more, so reserve() the largest one early.
/// Not to be shared by calls that run at the same time.
class FfnScratch {
 public:
  void reserve(int num_rows, int width);
  [[nodiscard]] std::size_t bytes() const { return product_.size() * sizeof(float); }

 private:
  friend void expert_ffn(const ExpertFfn&, RowsView, int, RowsOut, FfnScratch&);
  std::vector<float> product_;  // as pieces of rows: row_pieces.hpp
};

/// y = ffn(x). x: [num_rows, hidden] in the type of the matrices; y: [num_rows, hidden], no row of it overlaps x.
/// silu(gate) * up is rounded to their type. Rows pass in blocks, so that what lies between the matrices stays in
/// the caches.
void expert_ffn(const ExpertFfn& ffn, RowsView x, int num_rows, RowsOut y, FfnScratch& scratch);
/// The same with rows of y side by side. // y: [num_rows, hidden]
inline void expert_ffn(const ExpertFfn& ffn, RowsView x, int num_rows, float* y, FfnScratch& scratch) {
  expert_ffn(ffn, x, num_rows, RowsOut{.data = y, .row_stride = ffn.down.num_out()}, scratch);
}

}  // namespace moebius::kernels
