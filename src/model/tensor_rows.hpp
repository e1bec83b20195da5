// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows of a tensor of a checkpoint, widened to fp32: read in order and in large pieces, so that a disk sees long
// sequential reads and a cache sees short rows. For WeightReader.

#include <cstddef>
#include <limits>
#include <span>
#include <utility>
#include <vector>

#include "base/tensor.hpp"

namespace moebius::model {

/// dst = the stored elements of src, widened exactly. src: dst.size() elements, aligned or not. f32, f16, bf16 and
/// f8_e4m3; FP8 without its scales.
void widen(DType dtype, std::span<const std::byte> src, std::span<float> dst);

/// FP8 weights as DeepSeek-V3 ships them have a scale for each block of 128 x 128 elements.
inline constexpr int scale_block = 128;

class TensorRows {
 public:
  /// `tensor` is checked: num_rows rows of row_size elements of a floating-point type.
  TensorRows(TensorRef tensor, int num_rows, int row_size);

  [[nodiscard]] int num_rows() const { return num_rows_; }
  [[nodiscard]] std::size_t row_bytes() const { return row_bytes_; }
  /// dst = rows first, first + 1, ... // [n, row_size]
  /// Rows that lie before what was read last are read again: ask in ascending order, or keep_all() first. Nothing
  /// is read from row `end_of_share` on, which is another reader's.
  void read(int first, std::span<float> dst, int end_of_share = std::numeric_limits<int>::max());
  /// Keep the whole tensor once it has been read: for rows that are wanted in another order.
  void keep_all() { rows_per_piece_ = num_rows_; }
  /// Multiply the elements by the scale of their block. // [ceil(num_rows / 128), ceil(row_size / 128)]
  void scale_by(std::vector<float> scales) { scales_ = std::move(scales); }

 private:
  void scale(int row, std::span<float> values) const;

  TensorRef tensor_;
  int num_rows_;
  int row_size_;
  std::size_t row_bytes_;
  std::vector<float> scales_;  // empty: none
  int rows_per_piece_;
  std::vector<std::byte> piece_;  // rows first_in_piece_, ... as stored
  int first_in_piece_ = 0, end_of_piece_ = 0;
};

}  // namespace moebius::model
