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
    const RouterOptions options{.norm_topk_prob = trial % 2 == 1, .scaling = trial % 4 < 2 ? 1.0 : 2.5};
    auto logits = normal(static_cast<std::size_t>(num_rows * num_experts), 2.0F);
    if (trial % 3 == 0) {
      for (float& logit : logits) logit = std::round(logit);  // many ties
    }
    std::vector<std::int32_t> ids(static_cast<std::size_t>(num_rows * k));
    std::vector<float> weights(ids.size());
    route_topk(options, {}, logits.data(), num_rows, num_experts, k, ids.data(), weights.data());
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
        const double p = std::exp(double{x[ids[at]]}) / total / (options.norm_topk_prob ? kept : 1.0) * options.scaling;
        ASSERT_NEAR(weights[at], p, 1e-6);
      }
    }
  }
}

TEST_P(RouterTest, TiesGoToTheLowerExpert) {
  const std::vector<float> logits = {1, 3, 2, 3, 2, 2, 3, 2};
  std::vector<std::int32_t> ids(5);
  std::vector<float> weights(5);
  route_topk({}, {}, logits.data(), 1, 8, 5, ids.data(), weights.data());
  EXPECT_EQ(ids, (std::vector<std::int32_t>{1, 2, 3, 4, 6}));
  EXPECT_EQ(weights[0], weights[2]);
  EXPECT_GT(weights[0], weights[1]);
}

TEST_P(RouterTest, IdsAreValidWhereLogitsAreNotNumbers) {
  using Limits = std::numeric_limits<float>;
  const std::vector<float> logits = {1, Limits::quiet_NaN(), 2, 3, Limits::infinity()};
  std::vector<std::int32_t> ids(3, -1);
  std::vector<float> weights(3);
  route_topk({.norm_topk_prob = true}, {}, logits.data(), 1, 5, 3, ids.data(), weights.data());
  EXPECT_EQ(std::set<std::int32_t>(ids.begin(), ids.end()).size(), 3U);
  for (const std::int32_t id : ids) EXPECT_TRUE(id >= 0 && id < 5) << id;
}

/// The rule of DeepSeek in double, by sorting: the groups' scores, then the experts of the best groups.
std::vector<int> choice_by_sorting(const RouterOptions& options, const std::vector<double>& choice, int k) {
  const auto best_of = [](const std::vector<double>& values, std::size_t count) {
    std::vector<int> order(values.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return values[static_cast<std::size_t>(a)] > values[static_cast<std::size_t>(b)]; });
    order.resize(count);
    return order;
  };
  const std::size_t group_size = choice.size() / static_cast<std::size_t>(options.num_groups);
  std::vector<double> group_scores, allowed(choice.size(), -1e300);
  for (std::size_t begin = 0; begin < choice.size(); begin += group_size) {
    std::vector<double> group(choice.begin() + static_cast<std::ptrdiff_t>(begin),
                              choice.begin() + static_cast<std::ptrdiff_t>(begin + group_size));
    std::sort(group.rbegin(), group.rend());
    group_scores.push_back(group[0] + (options.group_scores == RouterOptions::GroupScores::sum_of_two ? group[1] : 0.0));
  }
  for (const int group : best_of(group_scores, static_cast<std::size_t>(options.topk_groups))) {
    const auto begin = static_cast<std::size_t>(group) * group_size;
    std::copy_n(choice.begin() + static_cast<std::ptrdiff_t>(begin), group_size, allowed.begin() + static_cast<std::ptrdiff_t>(begin));
  }
  std::vector<int> chosen = best_of(allowed, static_cast<std::size_t>(k));
  std::sort(chosen.begin(), chosen.end());
  return chosen;
}

/// Logits on a coarse grid without pairs x and -x (whose sigmoids add up to 1), so that float and double order
/// them alike, and a bias that is finer than it.
TEST_P(RouterTest, GroupsAndBiasDecideAsInDeepSeek) {
  for (int trial = 0; trial < 200; ++trial) {
    const bool sigmoid = trial % 2 == 1;
    const int num_groups = between(1, 6), num_experts = num_groups * between(2, 9);
    const RouterOptions options{
        .scores = sigmoid ? RouterOptions::Scores::sigmoid : RouterOptions::Scores::softmax,
        .group_scores = sigmoid ? RouterOptions::GroupScores::sum_of_two : RouterOptions::GroupScores::best,
        .num_groups = num_groups,
        .topk_groups = between(1, num_groups),
        .norm_topk_prob = trial % 3 == 0,
        .scaling = 2.5};
    const int k = between(1, options.topk_groups * (num_experts / num_groups));
    std::vector<float> logits(static_cast<std::size_t>(num_experts)), bias(trial % 5 == 0 ? 0U : logits.size());
    for (float& logit : logits) logit = 0.0625F + 0.25F * static_cast<float>(between(-12, 12));
    for (float& b : bias) b = 0.03125F * static_cast<float>(between(-40, 40));
    std::vector<double> scores(logits.begin(), logits.end());
    double total = 0;
    for (double& score : scores) {
      score = sigmoid ? 1 / (1 + std::exp(-score)) : std::exp(score);
      total += score;
    }
    std::vector<double> choice;
    for (std::size_t i = 0; i < scores.size(); ++i) {
      if (!sigmoid) scores[i] /= total;
      choice.push_back(scores[i] + (bias.empty() ? 0.0 : double{bias[i]}));
    }
    const std::vector<int> expected = choice_by_sorting(options, choice, k);
    double kept = 0;
    for (const int expert : expected) kept += scores[static_cast<std::size_t>(expert)];
    std::vector<std::int32_t> ids(static_cast<std::size_t>(k));
    std::vector<float> weights(ids.size());
    route_topk(options, bias, logits.data(), 1, num_experts, k, ids.data(), weights.data());
    ASSERT_EQ(std::vector<int>(ids.begin(), ids.end()), expected) << "trial " << trial;
    for (std::size_t j = 0; j < ids.size(); ++j) {
      const double score = scores[static_cast<std::size_t>(ids[j])];
      ASSERT_NEAR(weights[j], score / (options.norm_topk_prob ? kept : 1.0) * 2.5, 5e-6) << "trial " << trial;
    }
  }
}

/// No weight is a division by zero where all sigmoids underflow.
TEST_P(RouterTest, VanishingSigmoidsHaveFiniteWeights) {
  const std::vector<float> logits(8, -200.0F);
  std::vector<std::int32_t> ids(2);
  std::vector<float> weights(2, -1.0F);
  route_topk({.scores = RouterOptions::Scores::sigmoid, .norm_topk_prob = true}, {}, logits.data(), 1, 8, 2, ids.data(), weights.data());
  EXPECT_EQ(ids, (std::vector<std::int32_t>{0, 1}));
  for (const float weight : weights) EXPECT_TRUE(weight >= 0.0F && weight <= 1.0F) << weight;
}

MOEBIUS_FOR_ALL_ISAS(RouterTest);

}  // namespace
}  // namespace moebius::kernels
