// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_rows.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bf16.hpp"
#include "base/check.hpp"
#include "base/f16.hpp"
#include "base/f8.hpp"

namespace moebius::model {
namespace {

/// Bytes of one read. Parallel file systems want megabytes; more would only leave the cache.
constexpr std::size_t piece_bytes = std::size_t{4} << 20;

template <class Stored, class ToFloat>
void widen_as(const std::byte* src, std::span<float> dst, ToFloat to_single) {
  for (std::size_t i = 0; i < dst.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, src + i * sizeof(Stored), sizeof(Stored));  // tensors may be unaligned
    dst[i] = to_single(stored);
  }
}

constexpr std::array<float, 256> f8_values = [] {
  std::array<float, 256> values{};
  for (unsigned bits = 0; bits < 256; ++bits) values[bits] = to_float(F8E4M3{static_cast<std::uint8_t>(bits)});
  return values;
}();

}  // namespace

void widen(DType dtype, std::span<const std::byte> src, std::span<float> dst) {
  MOEBIUS_EXPECT(dtype_bytes(dtype) > 0 && dst.size() * dtype_bytes(dtype) == src.size());
  switch (dtype) {
    case DType::f32: return widen_as<float>(src.data(), dst, [](float x) { return x; });
    case DType::bf16: return widen_as<std::uint16_t>(src.data(), dst, [](std::uint16_t x) { return to_float(Bf16{x}); });
    case DType::f16: return widen_as<std::uint16_t>(src.data(), dst, [](std::uint16_t x) { return to_float(F16{x}); });
    case DType::f8_e4m3: return widen_as<std::uint8_t>(src.data(), dst, [](std::uint8_t x) { return f8_values[x]; });
    default: MOEBIUS_EXPECT(dtype == DType::f32);  // WeightReader lets no other type through
  }
}

TensorRows::TensorRows(TensorRef tensor, int num_rows, int row_size)
    : tensor_(std::move(tensor)),
      num_rows_(num_rows),
      row_size_(row_size),
      row_bytes_(static_cast<std::size_t>(row_size) * dtype_bytes(tensor_.dtype)),
      rows_per_piece_(static_cast<int>(std::max<std::size_t>(1, piece_bytes / row_bytes_))) {
  MOEBIUS_EXPECT(tensor_.num_bytes == row_bytes_ * static_cast<std::size_t>(num_rows));
}

void TensorRows::read(int first, std::span<float> dst, int end_of_share) {
  const auto row_size = static_cast<std::size_t>(row_size_);
  const int end = first + static_cast<int>(dst.size() / row_size);
  MOEBIUS_EXPECT(dst.size() % row_size == 0 && first >= 0 && end <= std::min(num_rows_, end_of_share));
  for (int row = first; row < end;) {
    if (row < first_in_piece_ || row >= end_of_piece_) {
      first_in_piece_ = rows_per_piece_ == num_rows_ ? 0 : row;
      end_of_piece_ = std::min({first_in_piece_ + rows_per_piece_, num_rows_, end_of_share});
      piece_.resize(static_cast<std::size_t>(end_of_piece_ - first_in_piece_) * row_bytes_);
      tensor_.read(static_cast<std::size_t>(first_in_piece_) * row_bytes_, piece_);
    }
    const int num_rows = std::min(end, end_of_piece_) - row;
    const auto out = dst.subspan(static_cast<std::size_t>(row - first) * row_size, static_cast<std::size_t>(num_rows) * row_size);
    widen(tensor_.dtype, std::span<const std::byte>(piece_).subspan(static_cast<std::size_t>(row - first_in_piece_) * row_bytes_,
                                                                   static_cast<std::size_t>(num_rows) * row_bytes_), out);
    for (int i = 0; !scales_.empty() && i < num_rows; ++i) scale(row + i, out.subspan(static_cast<std::size_t>(i) * row_size, row_size));
    row += num_rows;
  }
}

void TensorRows::scale(int row, std::span<float> values) const {
  constexpr auto block = static_cast<std::size_t>(scale_block);
  const std::size_t blocks_per_row = (values.size() + block - 1) / block;
  const float* scales = scales_.data() + static_cast<std::size_t>(row) / block * blocks_per_row;
  for (std::size_t i = 0; i < values.size(); ++i) values[i] *= scales[i / block];
}

}  // namespace moebius::model
