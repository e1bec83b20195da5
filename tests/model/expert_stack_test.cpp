// SPDX-License-Identifier: Apache-2.0
#include "model/expert_stack.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/check.hpp"
#include "kernels/activations.hpp"
#include "model/weights.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/random_model.hpp"

namespace moebius::model {
namespace {

class ExpertStackTest : public ::testing::TestWithParam<ComputeType> {
 protected:
  std::vector<float> random_rows(int num_rows) {
    std::mt19937_64 random(9);
    std::normal_distribution<float> normal;
    std::vector<float> rows(static_cast<std::size_t>(num_rows * hidden_));
    for (float& value : rows) value = normal(random);
    return rows;
  }
  [[nodiscard]] std::vector<std::byte> in_compute_type(const std::vector<float>& rows) const {
    std::vector<std::byte> bytes(rows.size() * element_bytes(GetParam()));
    kernels::convert_rows(GetParam(), rows, bytes.data());
    return bytes;
  }
  /// Runs the expert on rows that lie side by side. // inputs: [num_rows, hidden_size]; outputs: likewise
  void forward(int layer, int place, const std::byte* inputs, int num_rows, float* outputs) {
    std::vector<const std::byte*> from;
    std::vector<float*> to;
    for (int row = 0; row < num_rows; ++row) {
      from.push_back(inputs + static_cast<std::size_t>(row * hidden_) * element_bytes(GetParam()));
      to.push_back(outputs + row * hidden_);
    }
    stack_.forward(LayerId(layer), PlaceId(place), from, to);
  }
  /// down(silu(gate x) * up x) in double.
  std::vector<double> by_definition(const std::string& prefix, std::span<const float> x) {
    const auto matrix = [&](const std::string& name) {
      const auto tensor = model_.lookup()(prefix + name + ".weight");
      std::vector<float> values(static_cast<std::size_t>(tensor->shape[0] * tensor->shape[1]));
      widen(tensor->dtype, read_bytes(*tensor), values);
      return values;
    };
    const auto multiply = [](const std::vector<float>& w, const std::vector<double>& in) {
      std::vector<double> out(w.size() / in.size());
      for (std::size_t i = 0; i < w.size(); ++i) out[i / in.size()] += static_cast<double>(w[i]) * in[i % in.size()];
      return out;
    };
    const std::vector<double> in(x.begin(), x.end());
    std::vector<double> inner = multiply(matrix("gate_proj"), in);
    const std::vector<double> up = multiply(matrix("up_proj"), in);
    for (std::size_t i = 0; i < inner.size(); ++i) inner[i] = inner[i] / (1 + std::exp(-inner[i])) * up[i];
    return multiply(matrix("down_proj"), inner);
  }

  test::RandomModel model_{test::odd_model_config(), DType::bf16, 6};
  int hidden_ = model_.config().hidden_size;
  // Out of order on purpose: a place is the order of the list, not of the ids.
  std::vector<HostedExpert> hosted_{{LayerId(2), ExpertId(7)}, {LayerId(0), ExpertId(3)}, {LayerId(2), ExpertId(1)}};
  ExpertStack stack_{model_.config(), GetParam(), model_.lookup(), hosted_, 20};
};
INSTANTIATE_TEST_SUITE_P(Types, ExpertStackTest, ::testing::Values(ComputeType::fp32, ComputeType::bf16),
                         [](const auto& type) { return to_string(type.param); });

TEST_P(ExpertStackTest, places_are_in_the_order_of_the_list) {
  EXPECT_EQ(stack_.num_layers(), 3);
  EXPECT_EQ(stack_.num_hosted(LayerId(0)), 1);
  EXPECT_EQ(stack_.num_hosted(LayerId(1)), 0);
  EXPECT_EQ(stack_.num_hosted(LayerId(2)), 2);
  EXPECT_EQ(stack_.expert(LayerId(2), PlaceId(0)), ExpertId(7));
  EXPECT_EQ(stack_.expert(LayerId(2), PlaceId(1)), ExpertId(1));
}

TEST_P(ExpertStackTest, computes_the_expert_of_its_place) {
  const double tolerance = GetParam() == ComputeType::fp32 ? 1e-5 : 3e-2;
  const std::vector<float> rows = random_rows(4);
  const std::vector<std::byte> inputs = in_compute_type(rows);
  std::vector<float> outputs(rows.size());
  const std::vector<std::tuple<int, int, std::string>> cases{{0, 0, "model.layers.0.mlp.experts.3."},
                                                              {2, 0, "model.layers.2.mlp.experts.7."},
                                                              {2, 1, "model.layers.2.mlp.experts.1."}};
  for (const auto& [layer, place, prefix] : cases) {
    forward(layer, place, inputs.data(), 4, outputs.data());
    for (std::size_t row = 0; row < 4; ++row) {
      const auto width = static_cast<std::size_t>(hidden_);
      const auto expected = by_definition(prefix, std::span(rows).subspan(row * width, width));
      EXPECT_LT(test::max_abs_difference(std::span(outputs).subspan(row * width, width), expected), tolerance) << prefix;
    }
  }
  EXPECT_GT(test::max_abs_difference(std::span(outputs).first(static_cast<std::size_t>(hidden_)),
                                     by_definition("model.layers.2.mlp.experts.7.", std::span(rows).first(static_cast<std::size_t>(hidden_)))),
            10 * tolerance)
      << "experts are alike";
}

TEST_P(ExpertStackTest, a_row_has_the_same_bits_in_any_company) {
  const std::vector<float> rows = random_rows(20);
  const std::vector<std::byte> inputs = in_compute_type(rows);
  std::vector<float> together(rows.size()), apart(rows.size());
  forward(0, 0, inputs.data(), 20, together.data());
  const std::size_t row_bytes = static_cast<std::size_t>(hidden_) * element_bytes(GetParam());
  for (const int step : {1, 3, 7, 19}) {
    for (int first = 0; first < 20; first += step) {
      forward(0, 0, inputs.data() + static_cast<std::size_t>(first) * row_bytes, std::min(step, 20 - first),
                     apart.data() + first * hidden_);
    }
    EXPECT_TRUE(test::same_bits(together, apart)) << step << " rows a call";
  }
}

TEST_P(ExpertStackTest, refuses_what_it_does_not_host) {
  std::vector<std::byte> inputs(21 * static_cast<std::size_t>(hidden_) * 4);
  std::vector<float> outputs(21 * static_cast<std::size_t>(hidden_));
  EXPECT_THROW(forward(0, 0, inputs.data(), 21, outputs.data()), ContractError);
  EXPECT_ANY_THROW(forward(1, 0, inputs.data(), 1, outputs.data()));
  EXPECT_ANY_THROW(forward(0, 1, inputs.data(), 1, outputs.data()));
  const std::vector<HostedExpert> dense{{LayerId(1), ExpertId(0)}};
  EXPECT_THROW(ExpertStack(model_.config(), GetParam(), model_.lookup(), dense, 4), ContractError);
}

}  // namespace
}  // namespace moebius::model
