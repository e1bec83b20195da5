// SPDX-License-Identifier: Apache-2.0
#pragma once
// Rows of numbers in compute type: what a matrix product reads and what travels between ranks. The
// conversion here is the only one, so that a row has the same bits whether it crossed the wire or not.

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/model_config.hpp"

namespace moebius::kernels {

/// Rows of float (fp32) or Bf16 (bf16), aligned to their element. Non-owning.
struct RowsView {
  ComputeType type = ComputeType::fp32;
  const std::byte* data = nullptr;  // [num_rows, row_stride]
  std::int64_t row_stride = 0;      ///< from row to row, in elements
};

/// dst = src in `type`, rounded to nearest, ties to even. dst: [src.size()] elements, aligned to them.
void convert_rows(ComputeType type, std::span<const float> src, std::byte* dst);

}  // namespace moebius::kernels
