// SPDX-License-Identifier: Apache-2.0
// The kernels that work row by row: conversion, norm, rotary embedding, feed-forward, combine.
#include <cmath>
#include <limits>

#include "base/check.hpp"
#include "kernels/combine.hpp"
#include "kernels/ffn.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/norm.hpp"
#include "kernels/rope.hpp"
#include "tests/kernels/kernel_test.hpp"
#include "tests/support/owned_matrix.hpp"

namespace moebius::kernels {
namespace {

using test::OwnedMatrix;

class RowKernelsTest : public KernelTest {};

constexpr float inf = std::numeric_limits<float>::infinity();

TEST_P(RowKernelsTest, ConversionRoundsAsTheScalarOne) {
  std::vector<float> x = normal(1000, 1e3F);
  for (std::uint32_t i = 0; i < 3000; ++i) {
    x.push_back(std::bit_cast<float>(static_cast<std::uint32_t>(random_())));            // any bits
    x.push_back(std::bit_cast<float>((static_cast<std::uint32_t>(random_()) & 0xffff0000U) | 0x8000U));  // ties
  }
  for (const float special : {0.0F, -0.0F, inf, -inf, std::nanf("1"), 3.4e38F, 1e-45F}) x.push_back(special);
  std::vector<Bf16> y(x.size());
  convert_rows(ComputeType::bf16, x, reinterpret_cast<std::byte*>(y.data()));
  for (std::size_t i = 0; i < x.size(); ++i) ASSERT_EQ(y[i].bits, to_bf16(x[i]).bits) << x[i];
  std::vector<float> copy(x.size());
  convert_rows(ComputeType::fp32, x, reinterpret_cast<std::byte*>(copy.data()));
  EXPECT_TRUE(same_bits(copy, x));
}

TEST_P(RowKernelsTest, ExponentialIsAccurateToAboutOneUnitOfTheLastPlace) {
  std::vector<float> x;
  for (float value = -87.336F; value < 88.37F; value += 0.00137F) x.push_back(value);
  for (float value = -1.0F; value < 1.0F; value += 0.00001F) x.push_back(value);
  std::vector<float> y(x.size());
  active_kernels().exp_row(x.data(), 0.0F, 1.0F, static_cast<std::int64_t>(x.size()), y.data());
  double worst = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double exact = std::exp(double{x[i]});
    const auto rounded = static_cast<float>(exact);
    const double unit = double{std::nextafter(rounded, inf)} - double{rounded};
    worst = std::max(worst, std::abs(double{y[i]} - exact) / unit);
  }
  EXPECT_LE(worst, 1.2);
  EXPECT_GT(worst, 0.0);
  RecordProperty("worst_units", std::to_string(worst));
  const std::vector<float> edges = {0.0F, -0.0F, -inf, inf, -88.0F, -1e30F, 89.0F, std::nanf("")};
  std::vector<float> at(edges.size());
  active_kernels().exp_row(edges.data(), 0.0F, 1.0F, static_cast<std::int64_t>(edges.size()), at.data());
  EXPECT_TRUE(same_bits(std::span(at).first(7), std::vector<float>{1, 1, 0, inf, 0, 0, inf}));
  EXPECT_TRUE(std::isnan(at[7]));
}

TEST_P(RowKernelsTest, RmsNormEqualsTheDoubleLoopAndIgnoresItsNeighbours) {
  for (const int width : {1, 15, 16, 32, 128, 250}) {
    const int num_rows = 9;
    const std::int64_t stride = width + 5;
    const auto x = normal(static_cast<std::size_t>(num_rows * stride), 3.0F);
    const auto weight = normal(static_cast<std::size_t>(width));
    std::vector<float> y(x.size(), -7.0F);
    rms_norm(x.data(), stride, weight, 1e-5F, num_rows, y.data(), stride);
    for (int row = 0; row < num_rows; ++row) {
      const float* in = x.data() + row * stride;
      double squares = 0;
      for (int i = 0; i < width; ++i) squares += double{in[i]} * double{in[i]};
      const double scale = 1.0 / std::sqrt(squares / width + 1e-5);
      for (int i = 0; i < width; ++i) {
        const double expected = double{in[i]} * scale * double{weight[static_cast<std::size_t>(i)]};
        ASSERT_NEAR(y[static_cast<std::size_t>(row * stride + i)], expected, 1e-6 * std::abs(expected) + 1e-12);
      }
      for (std::int64_t i = width; i < stride; ++i) ASSERT_EQ(y[static_cast<std::size_t>(row * stride + i)], -7.0F);
      std::vector<float> alone(in, in + width);
      rms_norm(alone.data(), width, weight, 1e-5F, 1, alone.data(), width);  // in place
      ASSERT_TRUE(same_bits(alone, std::span(y).subspan(static_cast<std::size_t>(row * stride), alone.size())));
    }
  }
}

TEST_P(RowKernelsTest, RopeTurnsPairsHalfAHeadApart) {
  for (const int head_dim : {2, 8, 32, 80, 128}) {
    const RopeTable table(head_dim, 10000.0, 3000);
    const int num_heads = 3;
    const std::vector<int> positions = {0, 1, 77, 2999, 5};
    const std::int64_t stride = num_heads * head_dim + 4;
    const auto x = normal(positions.size() * static_cast<std::size_t>(stride));
    auto y = x;
    apply_rope(table, positions, {.x = y.data(), .num_heads = num_heads, .head_stride = head_dim, .row_stride = stride});
    for (std::size_t token = 0; token < positions.size(); ++token) {
      for (int i = 0; i < num_heads * head_dim; ++i) {
        const int d = i % head_dim;
        const int half = head_dim / 2;
        const double angle = positions[token] * std::pow(10000.0, -2.0 * (d % half) / head_dim);
        const std::size_t at = token * static_cast<std::size_t>(stride) + static_cast<std::size_t>(i);
        const auto distance = static_cast<std::size_t>(half);
        const double other = d < half ? -double{x[at + distance]} : double{x[at - distance]};
        ASSERT_NEAR(y[at], double{x[at]} * std::cos(angle) + other * std::sin(angle), 1e-6) << "head_dim " << head_dim;
      }
      for (std::int64_t i = num_heads * head_dim; i < stride; ++i) {
        const std::size_t at = token * static_cast<std::size_t>(stride) + static_cast<std::size_t>(i);
        ASSERT_EQ(y[at], x[at]);
      }
    }
  }
  const RopeTable table(8, 10000.0, 10);
  std::vector<float> x(8);
  EXPECT_THROW(apply_rope(table, std::vector<int>{10}, {.x = x.data(), .num_heads = 1, .head_stride = 8, .row_stride = 8}), ContractError);
}

TEST_P(RowKernelsTest, CombineAddsInAscendingOrderThenOnceToTheResidual) {
  const int hidden = 53;
  const int k = 3;
  const int capacity = 8;
  const std::int64_t stride = hidden + 2;
  const std::vector<std::int32_t> rows = {6, 1, 4};
  const auto before = normal(static_cast<std::size_t>(capacity * stride));
  const auto outputs = normal(static_cast<std::size_t>(capacity * k * hidden));
  const auto weights = normal(static_cast<std::size_t>(capacity * k));
  auto expected = before;
  for (const int row : rows) {
    for (int i = 0; i < hidden; ++i) {
      const auto output = [&](int j) { return outputs[static_cast<std::size_t>((row * k + j) * hidden + i)]; };
      const auto weight = [&](int j) { return weights[static_cast<std::size_t>(row * k + j)]; };
      float sum = weight(0) * output(0);
      for (int j = 1; j < k; ++j) {
        sum = GetParam() == Isa::portable ? weight(j) * output(j) + sum : std::fma(weight(j), output(j), sum);
      }
      expected[static_cast<std::size_t>(row * stride + i)] += sum;
    }
  }
  auto residual = before;
  combine_experts(residual.data(), stride, rows.data(), 3, outputs.data(), weights.data(), k, hidden);
  EXPECT_TRUE(same_bits(residual, expected));

  // With ids, a row that uses fewer experts has the bits of a sum over these, and one that uses none is left alone.
  std::vector<std::int32_t> ids(static_cast<std::size_t>(capacity * k), 5);
  ids[static_cast<std::size_t>(1 * k + 1)] = -1;
  ids[static_cast<std::size_t>(4 * k)] = -1;
  auto shorter = before;
  combine_experts(shorter.data(), stride, rows.data(), 3, outputs.data(), weights.data(), k, hidden, ids.data());
  auto by_one = before;
  std::vector<float> first_outputs(static_cast<std::size_t>(capacity * hidden)), first_weights(static_cast<std::size_t>(capacity));
  std::copy_n(outputs.begin() + 1 * k * hidden, hidden, first_outputs.begin() + 1 * hidden);
  first_weights[1] = weights[static_cast<std::size_t>(1 * k)];
  combine_experts(by_one.data(), stride, rows.data() + 1, 1, first_outputs.data(), first_weights.data(), 1, hidden);
  const auto row_of = [&](const std::vector<float>& values, int row) {
    return std::vector<float>(values.begin() + row * stride, values.begin() + (row + 1) * stride);
  };
  EXPECT_TRUE(same_bits(row_of(shorter, 6), row_of(expected, 6)));
  EXPECT_TRUE(same_bits(row_of(shorter, 1), row_of(by_one, 1)));
  EXPECT_TRUE(same_bits(row_of(shorter, 4), row_of(before, 4)));
}

MOEBIUS_FOR_ALL_ISAS(RowKernelsTest);

}  // namespace
}  // namespace moebius::kernels
