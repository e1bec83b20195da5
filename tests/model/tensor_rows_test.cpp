// SPDX-License-Identifier: Apache-2.0
#include "model/tensor_rows.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.hpp"

namespace moebius::model {
namespace {

TEST(WidenTest, every_half) {
  std::vector<std::uint16_t> halves(65536);
  for (std::size_t i = 0; i < halves.size(); ++i) halves[i] = static_cast<std::uint16_t>(i);
  std::vector<float> values(halves.size());
  widen(DType::f16, std::as_bytes(std::span(halves)), values);
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const int exponent = static_cast<int>(i >> 10 & 31), fraction = static_cast<int>(i & 1023);
    ASSERT_EQ(std::signbit(values[i]), i >= 32768) << i;
    const double magnitude = std::abs(static_cast<double>(values[i]));
    if (exponent == 31) {
      ASSERT_TRUE(fraction == 0 ? std::isinf(magnitude) : std::isnan(magnitude)) << i;
    } else {
      ASSERT_EQ(magnitude, exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25)) << i;
    }
  }
}

TEST(WidenTest, unaligned_bytes) {
  const std::vector<float> source{-2.25F, 3e-40F, 1e30F};
  std::vector<std::byte> shifted(1 + source.size() * 4);
  std::memcpy(shifted.data() + 1, source.data(), source.size() * 4);
  std::vector<float> values(3);
  widen(DType::f32, std::span<const std::byte>(shifted).subspan(1), values);
  EXPECT_EQ(values, source);
  EXPECT_THROW(widen(DType::f32, shifted, values), ContractError);
  EXPECT_THROW(widen(DType::u8, std::span<const std::byte>(shifted).first(3), values), ContractError);
}

/// A tensor of F32 whose element i is i, which notes what is read of it.
struct Counted {
  std::vector<std::pair<std::size_t, std::size_t>> reads{};
  TensorRef tensor(std::int64_t num_rows, std::int64_t row_size) {
    return {.dtype = DType::f32, .shape = {num_rows, row_size}, .num_bytes = static_cast<std::size_t>(num_rows * row_size) * 4,
            .read = [this](std::size_t first, std::span<std::byte> out) {
              reads.emplace_back(first, out.size());
              for (std::size_t at = 0; at < out.size(); at += 4) {
                const auto value = static_cast<float>((first + at) / 4);
                std::memcpy(out.data() + at, &value, 4);
              }
            },
            .file = "counted"};
  }
};

TEST(TensorRowsTest, rows_in_order_are_read_once_in_large_pieces) {
  constexpr int num_rows = 5000, row_size = 1003;  // 20 MB
  Counted counted;
  TensorRows rows(counted.tensor(num_rows, row_size), num_rows, row_size);
  std::vector<float> values;
  for (int first = 0; first < num_rows; first += 32) {
    const int count = std::min(32, num_rows - first);
    values.resize(static_cast<std::size_t>(count) * row_size);
    rows.read(first, values);
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(values[i], static_cast<float>(static_cast<std::size_t>(first) * row_size + i));
  }
  std::size_t next = 0;
  for (const auto& [first, size] : counted.reads) {
    EXPECT_EQ(first, next);
    next = first + size;
    EXPECT_TRUE(size >= (1U << 20) || next == std::size_t{num_rows} * row_size * 4) << size;
  }
  EXPECT_EQ(next, std::size_t{num_rows} * row_size * 4);
}

TEST(TensorRowsTest, kept_rows_may_be_asked_for_in_any_order) {
  Counted counted;
  TensorRows rows(counted.tensor(40, 3), 40, 3);
  rows.keep_all();
  std::vector<float> row(3);
  for (const int r : {39, 0, 17, 17, 5}) {
    rows.read(r, row);
    EXPECT_EQ(row[2], static_cast<float>(3 * r + 2));
  }
  EXPECT_EQ(counted.reads.size(), 1U);
  EXPECT_THROW(rows.read(40, row), ContractError);
}

}  // namespace
}  // namespace moebius::model
