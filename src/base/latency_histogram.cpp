// SPDX-License-Identifier: Apache-2.0
#include "base/latency_histogram.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace moebius {
namespace {

constexpr double shortest_s = 1e-6, growth = 1.01;
constexpr std::size_t num_buckets = 2314;  // 1.01^2314 microseconds are 9960 s

std::size_t bucket_of(double seconds) {
  static const double per_bucket = 1.0 / std::log(growth);
  if (!(seconds > shortest_s)) return 0;
  return std::min(static_cast<std::size_t>(std::log(seconds / shortest_s) * per_bucket), num_buckets - 1);
}

}  // namespace

void LatencyHistogram::add(double seconds) {
  const std::size_t bucket = bucket_of(seconds);
  if (buckets_.size() <= bucket) buckets_.resize(bucket + 1);
  ++buckets_[bucket];
  ++count_;
}

void LatencyHistogram::add(const LatencyHistogram& other) {
  buckets_.resize(std::max(buckets_.size(), other.buckets_.size()));
  for (std::size_t i = 0; i < other.buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
  count_ += other.count_;
}

double LatencyHistogram::quantile(double share) const {
  if (count_ == 0) return 0;
  const auto wanted = std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(share * static_cast<double>(count_))));
  std::int64_t seen = 0;
  std::size_t bucket = 0;
  while (bucket + 1 < buckets_.size() && seen + buckets_[bucket] < wanted) seen += buckets_[bucket++];
  // The middle of the bucket, in proportion.
  return shortest_s * std::pow(growth, static_cast<double>(bucket) + 0.5);
}

LatencyHistogram LatencyHistogram::from_buckets(std::vector<std::int64_t> buckets) {
  LatencyHistogram histogram;
  histogram.count_ = std::accumulate(buckets.begin(), buckets.end(), std::int64_t{0});
  histogram.buckets_ = std::move(buckets);
  return histogram;
}

}  // namespace moebius
