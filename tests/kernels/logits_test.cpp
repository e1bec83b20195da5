// SPDX-License-Identifier: Apache-2.0
#include "kernels/logits.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/kernels/kernel_test.hpp"

namespace moebius::kernels {
namespace {

class LogitsTest : public KernelTest {};

std::vector<TokenId> by_probability(std::span<const float> logits) {
  std::vector<TokenId> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    return logits[static_cast<std::size_t>(a)] > logits[static_cast<std::size_t>(b)];
  });
  return order;
}

TEST_P(LogitsTest, LogProbsEqualDouble) {
  for (const std::size_t size : {1U, 15U, 4096U, 50257U}) {
    const auto logits = normal(size, 4.0F);
    const LogitsSummary summary = summarise(logits);
    double sum = 0;
    const auto largest = std::max_element(logits.begin(), logits.end());
    for (const float logit : logits) sum += std::exp(double{logit} - double{*largest});
    EXPECT_EQ(summary.max, *largest);
    EXPECT_EQ(summary.argmax, largest - logits.begin());
    const double exact = double{*largest} + std::log(sum);
    EXPECT_NEAR(summary.log_sum_exp, exact, 2e-7 * std::max(1.0, std::abs(exact)));
    EXPECT_NEAR(log_prob(summary, logits[size / 2]), double{logits[size / 2]} - exact, 2e-6);
  }
}

TEST_P(LogitsTest, TheArgmaxIsTheLowestOfEquals) {
  std::vector<float> logits(100, -1.0F);
  logits[40] = logits[63] = logits[99] = 2.0F;
  EXPECT_EQ(summarise(logits).argmax, 40);
  logits[3] = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(summarise(logits).argmax, 40);
  std::fill(logits.begin(), logits.end(), std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(summarise(logits).argmax, 0);
}

TEST_P(LogitsTest, TopLogprobsAreTheHeadOfAStableSort) {
  for (int trial = 0; trial < 20; ++trial) {
    auto logits = normal(static_cast<std::size_t>(between(1, 400)));
    if (trial % 2 == 0) {
      for (float& logit : logits) logit = std::round(2 * logit);
    }
    const auto order = by_probability(logits);
    std::vector<TokenId> ids(20);
    std::vector<float> values(20);
    top_logprobs(logits, 20, ids, values);
    const LogitsSummary summary = summarise(logits);
    for (std::size_t i = 0; i < ids.size(); ++i) {
      if (i < order.size()) {
        ASSERT_EQ(ids[i], order[i]);
        ASSERT_EQ(values[i], log_prob(summary, logits[static_cast<std::size_t>(order[i])]));
      } else {
        ASSERT_EQ(ids[i], -1);
        ASSERT_TRUE(std::isnan(values[i]));
      }
    }
  }
}

struct Filters {
  double temperature;
  int top_k;
  double top_p, min_p;
};

/// The specification: sort, filter one after the other, renormalise, invert, all in double.
std::vector<double> distribution(std::span<const float> logits, const Filters& f) {
  const auto order = by_probability(logits);
  std::vector<TokenId> kept = order;
  if (f.top_k > 0) kept.resize(std::min(kept.size(), static_cast<std::size_t>(f.top_k)));
  const auto weight = [&](TokenId id) {
    const auto logit = [&](TokenId token) { return double{logits[static_cast<std::size_t>(token)]}; };
    const double below_max = logit(id) - logit(order[0]);
    return std::exp(below_max / f.temperature);
  };
  const auto total = [&] {
    double sum = 0;
    for (const TokenId id : kept) sum += weight(id);
    return sum;
  };
  if (f.top_p < 1.0) {
    const double all = total();
    double reached = 0;
    std::size_t count = 0;
    while (count < kept.size() && (count == 0 || reached < f.top_p * all)) reached += weight(kept[count++]);
    kept.resize(count);
  }
  std::erase_if(kept, [&](TokenId id) { return weight(id) < f.min_p; });
  std::vector<double> p(logits.size(), 0.0);
  const double all = total();
  for (const TokenId id : kept) p[static_cast<std::size_t>(id)] = weight(id) / all;
  return p;
}

TEST_P(LogitsTest, SamplesInvertTheFilteredDistribution) {
  const Filters cases[] = {{1.0, 0, 1.0, 0.0},  {0.7, 0, 1.0, 0.0}, {1.0, 5, 1.0, 0.0},   {1.0, 0, 0.6, 0.0},
                           {1.0, 0, 1.0, 0.2},  {1.5, 12, 0.8, 0.1}, {0.01, 0, 0.9, 0.05}, {1.0, 1, 1.0, 0.0},
                           {1.0, 0, 0.0, 0.0},  {1.0, 0, 1.0, 1.0},  {2.0, 500, 0.999, 0.0}};
  SampleScratch scratch;
  for (const Filters& f : cases) {
    const auto logits = normal(200, 2.0F);
    const auto p = distribution(logits, f);
    for (int step = 0; step < 400; ++step) {
      const double uniform = (step + 0.5) / 400;
      const TokenId token = sample(logits, f.temperature, f.top_k, f.top_p, f.min_p, uniform, scratch);
      const auto at = static_cast<std::size_t>(token);
      ASSERT_GT(p[at], 0.0) << "drew a filtered token";
      const double below = std::accumulate(p.begin(), p.begin() + token, 0.0);
      ASSERT_LE(below, uniform + 1e-5);
      ASSERT_GE(below + p[at], uniform - 1e-5);
    }
  }
}

TEST_P(LogitsTest, EdgesOfSampling) {
  SampleScratch scratch;
  const std::vector<float> logits = {0.0F, 3.0F, 3.0F, -std::numeric_limits<float>::infinity(), 1.0F};
  EXPECT_EQ(sample(logits, 0.0, 0, 1.0, 0.0, 0.99, scratch), 1) << "greedy takes the lowest of equals";
  EXPECT_EQ(sample(logits, 1.0, 1, 1.0, 0.0, 0.99, scratch), 1) << "top_k 1 keeps the lowest of equals";
  EXPECT_EQ(sample(logits, 1e-320, 0, 1.0, 0.0, 0.99, scratch), 2) << "both maxima remain at tiny temperatures";
  EXPECT_EQ(sample(logits, 1.0, 0, 1.0, 0.0, 0.0, scratch), 0);
  EXPECT_EQ(sample(logits, 1.0, 0, 1.0, 0.0, std::nextafter(1.0, 0.0), scratch), 4);
  EXPECT_EQ(sample(std::vector<float>(4, std::nanf("")), 1.0, 0, 0.5, 0.1, 0.5, scratch), 0);
  for (const double uniform : {0.0, 0.3, 0.999}) {
    EXPECT_NE(sample(logits, 1000.0, 0, 1.0, 0.0, uniform, scratch), 3) << "probability zero is never drawn";
  }
}

MOEBIUS_FOR_ALL_ISAS(LogitsTest);

}  // namespace
}  // namespace moebius::kernels
