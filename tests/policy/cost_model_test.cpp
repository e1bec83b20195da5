// SPDX-License-Identifier: Apache-2.0
#include "policy/cost_model.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace moebius::policy {
namespace {

TEST(CostModel, FindsTheCoefficientsThatMadeTheTimes) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200; ++i) {
    const std::vector<double> truth{1e-5 * static_cast<double>(random() % 10), 1e-6 * static_cast<double>(1 + random() % 9),
                                    1e-9 * static_cast<double>(random() % 10), 1e-8 * static_cast<double>(1 + random() % 9)};
    std::vector<CostSample> samples;
    for (int s = 0; s < 40; ++s) {
      const double rows = static_cast<double>(1 + random() % 512), context = static_cast<double>(random() % 4096);
      CostSample& sample = samples.emplace_back(CostSample{attention_terms(rows, rows * context, rows + context), 0});
      for (std::size_t t = 0; t < truth.size(); ++t) sample.time_s += truth[t] * sample.terms[t];
    }
    const CostFit fit = fit_cost(samples);
    for (std::size_t t = 0; t < truth.size(); ++t) ASSERT_NEAR(fit.coefficients[t], truth[t], 1e-12 + 1e-6 * truth[t]) << "case " << i << " term " << t;
    ASSERT_NEAR(fit.r_squared, 1.0, 1e-9);
  }
}

TEST(CostModel, StaysCloseThroughNoiseAndSaysHowClose) {
  std::mt19937_64 random(2);
  std::normal_distribution<double> noise(1.0, 0.05);
  std::vector<CostSample> samples;
  for (int s = 0; s < 400; ++s) {
    const double bytes = static_cast<double>(random() % 1'000'000);
    samples.push_back({link_terms(bytes), (2e-6 + 1e-9 * bytes) * noise(random)});
  }
  const CostFit fit = fit_cost(samples);
  EXPECT_NEAR(fit.coefficients[1], 1e-9, 0.03e-9);
  EXPECT_GT(fit.r_squared, 0.97);
  EXPECT_LT(fit.r_squared, 1.0);
  EXPECT_GT(fit.worst_residual, 0.08);
}

TEST(CostModel, GivesNoTermLessThanNothing) {
  // Times that fall with rows: a free fit would have a negative slope, the best without one is the mean.
  std::vector<CostSample> samples;
  for (int rows = 1; rows <= 9; ++rows) samples.push_back({gemm_terms(rows), 10.0 - rows});
  const CostFit fit = fit_cost(samples);
  EXPECT_EQ(fit.coefficients[1], 0.0);
  EXPECT_NEAR(fit.coefficients[0], 5.0, 1e-12);
  EXPECT_NEAR(fit.r_squared, 0.0, 1e-12);
}

TEST(CostModel, LeavesOutWhatItCannotTellApart) {
  std::vector<CostSample> samples;  // as many rows as active experts in every sample
  for (int n = 1; n <= 8; ++n) samples.push_back({grouped_gemm_terms(n, n), 1.0 + 3.0 * n});
  const CostFit fit = fit_cost(samples);
  EXPECT_NEAR(fit.at(grouped_gemm_terms(20, 20)), 61.0, 1e-9);
  EXPECT_TRUE(fit.coefficients[1] == 0.0 || fit.coefficients[2] == 0.0);
}

TEST(CostModel, IsTheBestOfAGridOfCoefficients) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 20; ++i) {
    std::vector<CostSample> samples;
    for (int s = 0; s < 6; ++s) samples.push_back({gemm_terms(static_cast<double>(random() % 8)), static_cast<double>(random() % 16)});
    const auto error_of = [&](const std::vector<double>& coefficients) {
      double sum = 0;
      for (const CostSample& sample : samples) {
        const double error = sample.time_s - coefficients[0] - coefficients[1] * sample.terms[1];
        sum += error * error;
      }
      return sum;
    };
    const double found = error_of(fit_cost(samples).coefficients);
    for (int a = 0; a <= 60; ++a) {
      for (int b = 0; b <= 60; ++b) ASSERT_LE(found, error_of({a / 4.0, b / 10.0}) + 1e-9) << "case " << i;
    }
  }
}

TEST(CostModel, RelativeFitsAreAsGoodForSmallStagesAsForLargeOnes) {
  // Large times with an error of 5 % drown a small alpha in plain least squares.
  std::vector<CostSample> samples;
  for (int i = 0; i < 12; ++i) {
    const double rows = std::pow(4, i), exact = 1e-5 + 1e-6 * rows;
    samples.push_back({gemm_terms(rows), exact * (i % 2 == 0 ? 1.05 : 0.95)});
  }
  const CostFit fit = fit_relative(samples);
  EXPECT_LT(fit.worst_residual, 0.12);
  EXPECT_NEAR(fit.coefficients[0], 1e-5, 1e-6);
  EXPECT_GT(fit_cost(samples).worst_residual, 0.5);
  EXPECT_GT(fit.r_squared, 0.98);
}

}  // namespace
}  // namespace moebius::policy
