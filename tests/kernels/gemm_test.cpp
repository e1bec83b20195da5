// SPDX-License-Identifier: Apache-2.0
#include "kernels/gemm.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.hpp"
#include "tests/kernels/kernel_test.hpp"
#include "tests/support/owned_matrix.hpp"

namespace moebius::kernels {
namespace {

using test::OwnedMatrix;

class GemmTest : public KernelTest {};

/// [num_rows, num_out] with guard floats behind every row.
struct Product {
  static constexpr float guard = 12345.0F;
  std::int64_t stride;
  std::vector<float> y;
  Product(int num_rows, int num_out)
      : stride(num_out + 3), y(static_cast<std::size_t>(num_rows * stride), guard) {}
  [[nodiscard]] std::span<const float> row(int row_idx, int num_out) const {
    return std::span(y).subspan(static_cast<std::size_t>(row_idx * stride), static_cast<std::size_t>(num_out));
  }
};

bool same_bytes(const OwnedMatrix& a, const OwnedMatrix& b) {
  return std::ranges::equal(a.memory(), b.memory());
}

TEST_P(GemmTest, EqualsTheDoubleLoopOnRandomShapes) {
  for (int trial = 0; trial < 40; ++trial) {
    const ComputeType type = compute_types[trial % 2];
    const int num_rows = between(1, 120);
    const int num_out = between(1, 300);
    const int num_in = between(1, 600);
    const auto w = normal(static_cast<std::size_t>(num_out * num_in));
    const auto x = normal(static_cast<std::size_t>(num_rows * num_in));
    const StoredRows rows(type, x, num_in);
    Product product(num_rows, num_out);
    gemm(OwnedMatrix(type, w, num_out, num_in), rows.view, num_rows, product.y.data(), product.stride);
    for (int i = 0; i < num_rows; ++i) {
      for (int j = 0; j < num_out; ++j) {
        double sum = 0;
        double magnitude = 0;
        for (int k = 0; k < num_in; ++k) {
          const double term = double{as_stored(type, x[static_cast<std::size_t>(i * num_in + k)])} *
                              double{as_stored(type, w[static_cast<std::size_t>(j * num_in + k)])};
          sum += term;
          magnitude += std::abs(term);
        }
        ASSERT_NEAR(product.row(i, num_out)[static_cast<std::size_t>(j)], sum, 1e-6 * magnitude + 1e-7)
            << num_rows << "x" << num_out << "x" << num_in << " at " << i << "," << j;
      }
      for (std::int64_t g = num_out; g < product.stride; ++g) {
        const auto at = static_cast<std::size_t>(i * product.stride + g);
        ASSERT_EQ(product.y[at], Product::guard) << "wrote past row " << i;
      }
    }
  }
}

TEST_P(GemmTest, ARowHasTheSameBitsInAnyNumberOfRows) {
  struct Case {
    int num_out, num_in, dense_until;  // every number of rows up to here, then each 13th
  };
  for (const ComputeType type : compute_types) {
    for (const auto& [num_out, num_in, dense_until] : {Case{40, 70, 300}, Case{150, 300, 40}, Case{97, 1100, 20}, Case{32, 1, 20}}) {
      constexpr int most_rows = 300;
      const OwnedMatrix w(type, normal(static_cast<std::size_t>(num_out * num_in)), num_out, num_in);
      const StoredRows x(type, normal(static_cast<std::size_t>(most_rows * num_in)), num_in);
      Product alone(most_rows, num_out);
      for (int row = 0; row < most_rows; ++row) {
        gemm(w, x.from_row(row), 1, alone.y.data() + row * alone.stride, alone.stride);
      }
      for (int num_rows = 1; num_rows <= most_rows; num_rows += num_rows < dense_until ? 1 : 13) {
        const int first = between(0, most_rows - num_rows);
        Product together(num_rows, num_out);
        gemm(w, x.from_row(first), num_rows, together.y.data(), together.stride);
        for (int row = 0; row < num_rows; ++row) {
          ASSERT_TRUE(same_bits(together.row(row, num_out), alone.row(first + row, num_out)))
              << "row " << row << " of " << num_rows << ", " << num_out << "x" << num_in << " " << to_string(type);
        }
      }
    }
  }
}

/// Rows in any order, cut into calls at random places: what a batch is made of does not reach the bits.
TEST_P(GemmTest, TheCompositionOfABatchDoesNotReachTheBits) {
  constexpr int num_rows = 150;
  constexpr int num_in = 530;
  constexpr int num_out = 64;
  for (const ComputeType type : compute_types) {
    const OwnedMatrix w(type, normal(num_out * num_in), num_out, num_in);
    const auto x = normal(num_rows * num_in);
    const StoredRows in_order(type, x, num_in);
    Product expected(num_rows, num_out);
    gemm(w, in_order.view, num_rows, expected.y.data(), expected.stride);
    std::vector<int> order(num_rows);
    std::iota(order.begin(), order.end(), 0);
    for (int trial = 0; trial < 4; ++trial) {
      std::shuffle(order.begin(), order.end(), random_);
      std::vector<float> shuffled;
      for (const int row : order) shuffled.insert(shuffled.end(), x.begin() + row * num_in, x.begin() + (row + 1) * num_in);
      const StoredRows rows(type, shuffled, num_in);
      Product product(num_rows, num_out);
      for (int first = 0; first < num_rows;) {
        const int count = std::min(between(1, 60), num_rows - first);
        gemm(w, rows.from_row(first), count, product.y.data() + first * product.stride, product.stride);
        first += count;
      }
      for (int i = 0; i < num_rows; ++i) {
        ASSERT_TRUE(same_bits(product.row(i, num_out), expected.row(order[static_cast<std::size_t>(i)], num_out))) << i;
      }
    }
  }
}

/// The documented chain, element by element, with this library's scalar fma (or multiply and add).
TEST_P(GemmTest, EveryElementIsOneChainOverK) {
  const int num_out = 70;
  const int num_in = 701;
  const auto w = normal(static_cast<std::size_t>(num_out * num_in));
  const auto x = normal(static_cast<std::size_t>(num_in));
  for (const ComputeType type : compute_types) {
    std::vector<float> expected(static_cast<std::size_t>(num_out), 0.0F);
    for (int j = 0; j < num_out; ++j) {
      float& sum = expected[static_cast<std::size_t>(j)];
      const auto step = [&](int k) {
        const float a = as_stored(type, x[static_cast<std::size_t>(k)]);
        const float b = as_stored(type, w[static_cast<std::size_t>(j * num_in + k)]);
        sum = GetParam() == Isa::portable ? a * b + sum : std::fma(a, b, sum);
      };
      // The instruction takes the upper half of a pair first.
      const bool pairs_turned = type == ComputeType::bf16 && GetParam() == Isa::avx512_bf16;
      for (int k = 0; k < num_in; k += 2) {
        if (pairs_turned && k + 1 < num_in) step(k + 1);
        step(k);
        if (!pairs_turned && k + 1 < num_in) step(k + 1);
      }
    }
    const StoredRows rows(type, x, num_in);
    std::vector<float> y(expected.size());
    gemm(OwnedMatrix(type, w, num_out, num_in), rows.view, 1, y.data(), num_out);
    EXPECT_TRUE(same_bits(y, expected)) << to_string(type);
  }
}

TEST_P(GemmTest, ANaNStaysInItsRowAndColumn) {
  const int num_rows = 20;
  const int num_out = 40;
  const int num_in = 33;
  auto x = normal(static_cast<std::size_t>(num_rows * num_in));
  auto w = normal(static_cast<std::size_t>(num_out * num_in));
  x[7 * 33 + 5] = std::numeric_limits<float>::quiet_NaN();
  w[39 * 33 + 2] = std::numeric_limits<float>::quiet_NaN();
  const StoredRows rows(ComputeType::fp32, x, num_in);
  std::vector<float> y(static_cast<std::size_t>(num_rows * num_out));
  gemm(OwnedMatrix(ComputeType::fp32, w, num_out, num_in), rows.view, num_rows, y.data(), num_out);
  for (int i = 0; i < num_rows; ++i) {
    for (int j = 0; j < num_out; ++j) {
      EXPECT_EQ(std::isnan(y[static_cast<std::size_t>(i * num_out + j)]), i == 7 || j == 39) << i << "," << j;
    }
  }
}

TEST_P(GemmTest, RefusesWhatDoesNotFit) {
  const OwnedMatrix w(ComputeType::bf16, normal(64), 8, 8);
  EXPECT_EQ(w.bytes(), 32U * 8U * 2U);
  const StoredRows rows(ComputeType::fp32, normal(8), 8);
  std::vector<float> y(8);
  EXPECT_THROW(gemm(w, rows.view, 1, y.data(), 8), ContractError);
  EXPECT_THROW(OwnedMatrix(ComputeType::fp32, normal(63), 8, 8), ContractError);
}

TEST_P(GemmTest, RowsPackedInPartsEqualTheWholeAndStayInTheirPlace) {
  for (const ComputeType type : compute_types) {
    constexpr int num_out = 150, num_in = 37;  // ends inside a group
    const auto w = normal(std::size_t{num_out} * num_in);
    const OwnedMatrix whole(type, w, num_out, num_in);
    OwnedMatrix parts(type, normal(w.size()), num_out, num_in);
    for (const auto& [first, end] : {std::pair{128, 150}, std::pair{0, 32}, std::pair{32, 128}}) {
      EXPECT_FALSE(same_bytes(parts, whole));
      const auto rows = std::span(w).subspan(std::size_t(first) * num_in, std::size_t(end - first) * num_in);
      pack_rows(type, num_out, num_in, first, rows, parts.memory());
    }
    EXPECT_TRUE(same_bytes(parts, whole));
    const auto group = std::span(w).first(std::size_t{32} * num_in);
    EXPECT_THROW(pack_rows(type, num_out, num_in, 16, group, parts.memory()), ContractError);
    EXPECT_THROW(pack_rows(type, num_out, num_in, 0, group.first(std::size_t{31} * num_in), parts.memory()), ContractError);
    EXPECT_THROW(pack_rows(type, num_out, num_in, 128, group, parts.memory()), ContractError);
    EXPECT_THROW(pack_rows(type, num_out, num_in, 0, group, parts.memory().subspan(1)), ContractError);
  }
}

TEST_P(GemmTest, ARowComesBackAsItWasPacked) {
  for (const ComputeType type : compute_types) {
    constexpr int num_out = 70, num_in = 33;
    const auto w = normal(std::size_t{num_out} * num_in);
    const OwnedMatrix packed(type, w, num_out, num_in);
    std::vector<float> row(num_in);
    for (int r = 0; r < num_out; ++r) {
      unpack_row(packed, r, row);
      for (std::size_t k = 0; k < num_in; ++k) ASSERT_EQ(row[k], as_stored(type, w[static_cast<std::size_t>(r) * num_in + k]));
    }
    EXPECT_THROW(unpack_row(packed, num_out, row), ContractError);
  }
}

MOEBIUS_FOR_ALL_ISAS(GemmTest);

}  // namespace
}  // namespace moebius::kernels
