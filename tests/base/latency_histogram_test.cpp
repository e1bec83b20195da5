// SPDX-License-Identifier: Apache-2.0
#include "base/latency_histogram.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace moebius {
namespace {

/// The smallest value that at least `share` of all do not exceed.
double by_sorting(std::vector<double> values, double share) {
  std::ranges::sort(values);
  const auto wanted = std::max<std::size_t>(1, static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size()))));
  return values[wanted - 1];
}

std::vector<double> times(std::uint64_t seed, std::size_t count, double spread) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> draw(std::log(0.01), spread);
  std::vector<double> values(count);
  for (double& value : values) value = draw(random);
  return values;
}

TEST(LatencyHistogramTest, quantiles_are_those_of_sorting_within_half_a_bucket) {
  for (const std::uint64_t seed : {1, 2, 3, 4, 5}) {
    SCOPED_TRACE(seed);
    for (const std::size_t count : {1, 2, 3, 100, 101, 5000}) {
      for (const double spread : {0.0, 0.01, 0.5, 1.5}) {
        const std::vector<double> values = times(seed, count, spread);
        LatencyHistogram histogram;
        for (const double value : values) histogram.add(value);
        EXPECT_EQ(histogram.count(), static_cast<std::int64_t>(count));
        for (const double share : {0.0, 0.01, 0.5, 0.9, 0.99, 1.0}) {
          const double expected = by_sorting(values, share);
          EXPECT_NEAR(histogram.quantile(share) / expected, 1.0, 0.00505) << count << " values, share " << share;
        }
      }
    }
  }
}

TEST(LatencyHistogramTest, histograms_of_ranks_add_up) {
  const std::vector<double> a = times(7, 300, 1.0), b = times(8, 500, 0.2);
  LatencyHistogram first, second, all;
  for (const double value : a) first.add(value), all.add(value);
  for (const double value : b) second.add(value), all.add(value);
  first.add(LatencyHistogram::from_buckets(second.buckets()));
  EXPECT_EQ(first.count(), 800);
  EXPECT_EQ(first.buckets(), all.buckets());
  for (const double share : {0.1, 0.5, 0.99}) EXPECT_EQ(first.quantile(share), all.quantile(share));
}

TEST(LatencyHistogramTest, what_lies_outside_counts_at_the_ends) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.quantile(0.5), 0.0);
  histogram.add(0.0);
  EXPECT_NEAR(histogram.quantile(1.0), 1e-6, 1e-8);
  histogram.add(1e9);
  EXPECT_EQ(histogram.count(), 2);
  EXPECT_GT(histogram.quantile(1.0), 9000.0);
  EXPECT_LT(histogram.buckets().size(), 2400U);  // memory does not grow with times
}

}  // namespace
}  // namespace moebius
