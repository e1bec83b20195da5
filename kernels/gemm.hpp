// SPDX-License-Identifier: Apache-2.0
#pragma once
// Matrix product of rows with a weight matrix. Every output element is one chain of fused multiply-adds
// over k = 0..num_in-1 that starts from zero (portable: multiply, then add; avx512_bf16 in bf16: of each pair
// k, k + 1 the second first, denormals taken as zero): its bits depend on its row of x and its row of w only,
// not on how many rows are computed together, nor on threads.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/model_config.hpp"
#include "kernels/activations.hpp"

namespace moebius::kernels {

/// Bytes of a packed matrix, padding included: the one truth for who provides the memory. A multiple of
/// packed_alignment.
std::size_t packed_bytes(ComputeType type, int num_out, int num_in);
/// Packed memory starts on a border of this many bytes.
inline constexpr std::size_t packed_alignment = 64;
/// Rows of w are packed in groups of this many, counted from row 0.
inline constexpr int pack_group_rows = 32;

/// Packs rows first_row, first_row + 1, ... of w, so that a large matrix can be packed while it is read.
/// rows: [n, num_in] row-major, as checkpoints store it; first_row is a multiple of pack_group_rows, and so
/// is n unless the rows reach num_out. memory: all packed_bytes() of the matrix, of which only the part of
/// these rows is written, padding included. bf16 rounds to nearest, ties to even.
void pack_rows(ComputeType type, int num_out, int num_in, int first_row, std::span<const float> rows,
               std::span<std::byte> memory);

/// A weight matrix in the order in which the tiles read it: panels of 32 output columns, zero-padded, two and two
/// interleaved, [pair of panels][num_in][2][32], in bf16 [pair of panels][num_in / 2][2][32][2] with an odd num_in padded
/// (panel.hpp).
/// A view of packed memory that somebody else owns.
class PackedMatrix {
 public:
  PackedMatrix() = default;
  /// memory: packed_bytes() that pack_rows has filled, or will have before the first product.
  PackedMatrix(ComputeType type, int num_out, int num_in, std::span<const std::byte> memory);
  /// Packs a whole matrix into `memory`. // w: [num_out, num_in]
  static PackedMatrix pack(ComputeType type, std::span<const float> w, int num_out, int num_in, std::span<std::byte> memory);

  [[nodiscard]] int num_out() const { return num_out_; }
  [[nodiscard]] int num_in() const { return num_in_; }
  [[nodiscard]] ComputeType type() const { return type_; }
  /// Bytes of memory, padding included.
  [[nodiscard]] std::size_t bytes() const { return num_out_ == 0 ? 0 : packed_bytes(type_, num_out_, num_in_); }
  /// The part that makes num_out outputs from first_out on, both multiples of 2 * pack_group_rows but for
  /// the last outputs. A view as this one.
  [[nodiscard]] PackedMatrix outputs(int first_out, int num_out) const;
  /// First byte of an even panel.
  [[nodiscard]] const std::byte* panel(int panel_idx) const;
  [[nodiscard]] std::int64_t panel_bytes() const;

 private:
  ComputeType type_ = ComputeType::fp32;
  int num_out_ = 0;
  int num_in_ = 0;
  const std::byte* memory_ = nullptr;  // [num_panels / 2, num_in, 2, 32] elements, then a panel alone
};

/// The weights of one output: row row_idx of what was packed, as rounded to the matrix's type. // [num_in]
void unpack_row(const PackedMatrix& w, int row_idx, std::span<float> row);

/// y = x * w^T, accumulated in fp32. x: [num_rows, w.num_in()] in w's type. y: [num_rows, w.num_out()]
/// with y_stride floats from row to row. y must not overlap x. Uses scratch of the calling thread that
/// grows to the largest call and stays.
void gemm(const PackedMatrix& w, RowsView x, int num_rows, float* y, std::int64_t y_stride);

}  // namespace moebius::kernels
