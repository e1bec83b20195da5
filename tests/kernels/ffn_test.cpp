// SPDX-License-Identifier: Apache-2.0
#include "kernels/ffn.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tests/kernels/kernel_test.hpp"
#include "tests/support/owned_matrix.hpp"

namespace moebius::kernels {
namespace {

using test::OwnedMatrix;

class FfnTest : public KernelTest {};

/// With hidden size 1, an input of 1 and the identity as down_proj, an output is silu(gate) * up and nothing else.
TEST_P(FfnTest, SiluTimesUpEqualsTheDoubleLoop) {
  const int width = 37;
  auto gate = normal(width, 5.0F);
  gate[0] = -200.0F;  // exp(200) overflows to infinity, the result is a zero
  gate[1] = 200.0F;
  gate[2] = 0.0F;
  const auto up = normal(width);
  std::vector<float> identity(width * width, 0.0F);
  for (std::size_t i = 0; i < width; ++i) identity[i * width + i] = 1.0F;
  for (const ComputeType type : compute_types) {
    const OwnedMatrix g(type, gate, width, 1), u(type, up, width, 1), down(type, identity, 1 * width, width);
    const StoredRows rows(type, std::vector<float>{1.0F}, 1);
    FfnScratch scratch;
    std::vector<float> y(width);
    expert_ffn({g, u, down}, rows.view, 1, y.data(), scratch);
    const double unit = type == ComputeType::fp32 ? 1e-6 : 1.0 / 256;
    for (std::size_t i = 0; i < width; ++i) {
      const double x = double{as_stored(type, gate[i])};
      const double expected = x / (1.0 + std::exp(-x)) * double{as_stored(type, up[i])};
      ASSERT_NEAR(y[i], expected, unit * std::abs(expected) + 1e-30) << gate[i];
      if (type == ComputeType::bf16) {
        ASSERT_EQ(y[i], to_float(to_bf16(y[i]))) << "the product is rounded to compute type";
      }
    }
  }
}

TEST_P(FfnTest, ExpertFfnEqualsTheDoubleLoopsAndIgnoresItsNeighbours) {
  const int hidden = 70;
  const int width = 45;
  const int num_rows = 30;
  const auto gate = normal(static_cast<std::size_t>(width * hidden), 0.2F);
  const auto up = normal(gate.size(), 0.2F);
  const auto down = normal(gate.size(), 0.2F);
  const auto x = normal(static_cast<std::size_t>(num_rows * hidden));
  for (const ComputeType type : compute_types) {
    const OwnedMatrix gate_proj(type, gate, width, hidden), up_proj(type, up, width, hidden), down_proj(type, down, hidden, width);
    const ExpertFfn ffn{gate_proj, up_proj, down_proj};
    const StoredRows rows(type, x, hidden);
    FfnScratch scratch;
    std::vector<float> y(x.size());
    expert_ffn(ffn, rows.view, num_rows, y.data(), scratch);
    // The product is rounded to compute type between the matrices: half a unit of the last place per term.
    const double tolerance = type == ComputeType::fp32 ? 2e-6 : 1.0 / 256;
    for (int row = 0; row < num_rows; ++row) {
      std::vector<float> alone(static_cast<std::size_t>(hidden));
      expert_ffn(ffn, rows.from_row(row), 1, alone.data(), scratch);
      ASSERT_TRUE(same_bits(alone, std::span(y).subspan(static_cast<std::size_t>(row * hidden), alone.size()))) << row;
      std::vector<double> expected(static_cast<std::size_t>(hidden), 0.0);
      std::vector<double> magnitude(static_cast<std::size_t>(hidden), 0.0);
      for (int i = 0; i < width; ++i) {
        double g = 0;
        double u = 0;
        for (int k = 0; k < hidden; ++k) {
          const double value = double{as_stored(type, x[static_cast<std::size_t>(row * hidden + k)])};
          g += double{as_stored(type, gate[static_cast<std::size_t>(i * hidden + k)])} * value;
          u += double{as_stored(type, up[static_cast<std::size_t>(i * hidden + k)])} * value;
        }
        const double product = g / (1.0 + std::exp(-g)) * u;
        for (int k = 0; k < hidden; ++k) {
          const double term = double{as_stored(type, down[static_cast<std::size_t>(k * width + i)])} * product;
          expected[static_cast<std::size_t>(k)] += term;
          magnitude[static_cast<std::size_t>(k)] += std::abs(term);
        }
      }
      for (std::size_t k = 0; k < expected.size(); ++k) {
        ASSERT_NEAR(alone[k], expected[k], tolerance * magnitude[k] + 1e-6);
      }
    }
  }
}

/// Every number of rows up to 300, and shuffled rows, against each row alone.
TEST_P(FfnTest, ARowHasTheSameBitsInAnyBatch) {
  constexpr int hidden = 40, width = 33, most_rows = 300;
  for (const ComputeType type : compute_types) {
    const OwnedMatrix gate(type, normal(width * hidden, 0.3F), width, hidden), up(type, normal(width * hidden, 0.3F), width, hidden),
        down(type, normal(width * hidden, 0.3F), hidden, width);
    const ExpertFfn ffn{gate, up, down};
    std::vector<int> order(most_rows);
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random_);
    const auto x = normal(most_rows * hidden);
    std::vector<float> shuffled;
    for (const int row : order) shuffled.insert(shuffled.end(), x.begin() + row * hidden, x.begin() + (row + 1) * hidden);
    const StoredRows rows(type, x, hidden), other(type, shuffled, hidden);
    FfnScratch scratch;
    std::vector<float> alone(x.size()), y(x.size());
    for (int row = 0; row < most_rows; ++row) {
      expert_ffn(ffn, rows.from_row(row), 1, alone.data() + row * hidden, scratch);
    }
    const auto row_of = [&](const std::vector<float>& values, int row) {
      return std::span(values).subspan(static_cast<std::size_t>(row * hidden), hidden);
    };
    // Rows may lie apart, here in an order of their own: `order` undone on the way in, done again on the way out.
    std::vector<const std::byte*> from;
    std::vector<float*> to;
    for (int row = 0; row < most_rows; ++row) {
      from.push_back(rows.from_row(order[static_cast<std::size_t>(row)]).data);
      to.push_back(y.data() + order[static_cast<std::size_t>(row)] * hidden);
    }
    expert_ffn(ffn, RowsView{.type = type, .rows = from.data()}, most_rows, RowsOut{.rows = to.data()}, scratch);
    ASSERT_TRUE(same_bits(y, alone)) << "rows that lie apart";
    for (int num_rows = 1; num_rows <= most_rows; ++num_rows) {
      expert_ffn(ffn, other.view, num_rows, y.data(), scratch);
      for (int row = 0; row < num_rows; ++row) {
        ASSERT_TRUE(same_bits(row_of(y, row), row_of(alone, order[static_cast<std::size_t>(row)]))) << row << " of " << num_rows;
      }
    }
  }
}

MOEBIUS_FOR_ALL_ISAS(FfnTest);

TEST_P(FfnTest, RowsThatLieApartAreWrittenInAllColumns) {
  constexpr int hidden = 300, width = 40, num_rows = 5;  // three strips of columns, the last one partly used
  for (const ComputeType type : compute_types) {
    const OwnedMatrix gate(type, normal(width * hidden, 0.3F), width, hidden), up(type, normal(width * hidden, 0.3F), width, hidden),
        down(type, normal(width * hidden, 0.3F), hidden, width);
    const ExpertFfn ffn{gate, up, down};
    const StoredRows rows(type, normal(num_rows * hidden), hidden);
    FfnScratch scratch;
    std::vector<float> together(num_rows * hidden), apart(num_rows * hidden);
    expert_ffn(ffn, rows.view, num_rows, together.data(), scratch);
    std::vector<float*> to;
    for (int row = 0; row < num_rows; ++row) to.push_back(apart.data() + row * hidden);
    expert_ffn(ffn, rows.view, num_rows, RowsOut{.rows = to.data()}, scratch);
    ASSERT_TRUE(same_bits(apart, together));
  }
}

}  // namespace
}  // namespace moebius::kernels
