// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows of numbers in compute type: what a matrix product reads and what travels between ranks. The
// conversion here is the only one, so that a row has the same bits whether it crossed the wire or not.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/model_config.hpp"

namespace moebius::kernels {

/// Rows of float (fp32) or Bf16 (bf16), aligned to their element: side by side, or each at a place of its
/// own. Non-owning.
struct RowsView {
  ComputeType type = ComputeType::fp32;
  const std::byte* data = nullptr;  // [num_rows, row_stride]
  std::int64_t row_stride = 0;      ///< from row to row, in elements
  const std::byte* const* rows = nullptr;  ///< [num_rows] where each row begins; then data and row_stride are not used

  [[nodiscard]] const std::byte* row(std::int64_t i) const {
    return rows != nullptr ? rows[i] : data + i * row_stride * static_cast<std::int64_t>(element_bytes(type));
  }
};

/// Where rows of float are written. Non-owning.
struct RowsOut {
  float* data = nullptr;        // [num_rows, row_stride]
  std::int64_t row_stride = 0;  ///< from row to row, in floats
  float* const* rows = nullptr; ///< [num_rows] where each row begins; then data and row_stride are not used

  /// The rows from `first` on.
  [[nodiscard]] RowsOut from(std::int64_t first) const {
    return rows != nullptr ? RowsOut{.rows = rows + first} : RowsOut{.data = data + first * row_stride, .row_stride = row_stride};
  }
};

/// dst = src in `type`, rounded to nearest, ties to even. dst: [src.size()] elements, aligned to them.
void convert_rows(ComputeType type, std::span<const float> src, std::byte* dst);

}  // namespace moebius::kernels
