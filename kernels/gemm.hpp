// SPDX-License-Identifier: Apache-2.0
#pragma once
// Matrix product of rows with a weight matrix. Every output element is one chain of fused multiply-adds
// over k = 0..num_in-1 that starts from zero (portable: multiply, then add): its bits depend on its row
// of x and its row of w only, not on how many rows are computed together, nor on threads.

#include <Kokkos_Core.hpp>
#include <cstddef>
#include <cstdint>
#include <span>

#include "base/model_config.hpp"
#include "kernels/activations.hpp"

namespace moebius::kernels {

/// A weight matrix in the order in which the tiles read it: panels of 32 output columns, zero-padded,
/// [panel][num_in][32]; in bf16 the columns c and c + 16 of a panel share a 32-bit word (panel.hpp).
/// Immutable; copies share the storage.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  /// w: [num_out, num_in] row-major, as checkpoints store it. bf16 rounds to nearest, ties to even.
  static PackedMatrix pack(ComputeType type, std::span<const float> w, int num_out, int num_in);

  [[nodiscard]] int num_out() const { return num_out_; }
  [[nodiscard]] int num_in() const { return num_in_; }
  [[nodiscard]] ComputeType type() const { return type_; }
  /// Bytes of storage, padding included.
  [[nodiscard]] std::size_t bytes() const { return storage_.extent(0); }
  /// First byte of a panel.
  [[nodiscard]] const std::byte* panel(int panel_idx) const;

 private:
  using Storage = Kokkos::View<std::byte*, Kokkos::HostSpace>;

  ComputeType type_ = ComputeType::fp32;
  int num_out_ = 0;
  int num_in_ = 0;
  Storage storage_;  // [num_panels, num_in, 32] elements
};

/// y = x * w^T, accumulated in fp32. x: [num_rows, w.num_in()] in w's type. y: [num_rows, w.num_out()]
/// with y_stride floats from row to row. y must not overlap x. Uses scratch of the calling thread that
/// grows to the largest call and stays.
void gemm(const PackedMatrix& w, RowsView x, int num_rows, float* y, std::int64_t y_stride);

}  // namespace moebius::kernels
