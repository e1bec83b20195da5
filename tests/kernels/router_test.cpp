// SPDX-License-Identifier: Apache-2.0
#include "kernels/router.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "tests/kernels/kernel_test.hpp"

namespace moebius::kernels {
namespace {

class RouterTest : public KernelTest {};

TEST_P(RouterTest, EqualsASortOfTheSoftmax) {
  for (int trial = 0; trial < 60; ++trial) {
    const int num_experts = between(1, 140);
    const int k = between(1, std::min(num_experts, 9));
    const int num_rows = 5;
    const NormTopk norm = trial % 2 == 0 ? NormTopk::keep : NormTopk::renormalise;
    auto logits = normal(static_cast<std::size_t>(num_rows * num_experts), 2.0F);
    if (trial % 3 == 0) {
      for (float& logit : logits) logit = std::round(logit);  // many ties
    }
    std::vector<std::int32_t> ids(static_cast<std::size_t>(num_rows * k));
    std::vector<float> weights(ids.size());
    route_topk(logits.data(), num_rows, num_experts, k, norm, ids.data(), weights.data());
    for (int row = 0; row < num_rows; ++row) {
      const float* x = logits.data() + row * num_experts;
      std::vector<int> order(static_cast<std::size_t>(num_experts));
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return x[a] > x[b]; });
      order.resize(static_cast<std::size_t>(k));
      std::sort(order.begin(), order.end());
      double total = 0;
      for (int e = 0; e < num_experts; ++e) total += std::exp(double{x[e]});
      double kept = 0;
      for (const int e : order) kept += std::exp(double{x[e]}) / total;
      for (int j = 0; j < k; ++j) {
        const auto at = static_cast<std::size_t>(row * k + j);
        ASSERT_EQ(ids[at], order[static_cast<std::size_t>(j)]);
        const double p = std::exp(double{x[ids[at]]}) / total / (norm == NormTopk::renormalise ? kept : 1.0);
        ASSERT_NEAR(weights[at], p, 1e-6);
      }
    }
  }
}

TEST_P(RouterTest, TiesGoToTheLowerExpert) {
  const std::vector<float> logits = {1, 3, 2, 3, 2, 2, 3, 2};
  std::vector<std::int32_t> ids(5);
  std::vector<float> weights(5);
  route_topk(logits.data(), 1, 8, 5, NormTopk::keep, ids.data(), weights.data());
  EXPECT_EQ(ids, (std::vector<std::int32_t>{1, 2, 3, 4, 6}));
  EXPECT_EQ(weights[0], weights[2]);
  EXPECT_GT(weights[0], weights[1]);
}

TEST_P(RouterTest, IdsAreValidWhereLogitsAreNotNumbers) {
  using Limits = std::numeric_limits<float>;
  const std::vector<float> logits = {1, Limits::quiet_NaN(), 2, 3, Limits::infinity()};
  std::vector<std::int32_t> ids(3, -1);
  std::vector<float> weights(3);
  route_topk(logits.data(), 1, 5, 3, NormTopk::renormalise, ids.data(), weights.data());
  EXPECT_EQ(std::set<std::int32_t>(ids.begin(), ids.end()).size(), 3U);
  for (const std::int32_t id : ids) EXPECT_TRUE(id >= 0 && id < 5) << id;
}

MOEBIUS_FOR_ALL_ISAS(RouterTest);

}  // namespace
}  // namespace moebius::kernels
