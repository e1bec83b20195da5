// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long things took, in bounded memory: counts in buckets that grow by 1 %, from a microsecond to three hours.
//
// Any quantile is within half a bucket, 0.5 %, of the one that sorting all times would give. Shorter times count as the first bucket,
// longer ones as the last. Histograms of several ranks add up.

#include <cstdint>
#include <vector>

namespace moebius {

class LatencyHistogram {
 public:
  /// Seconds; not negative.
  void add(double seconds);
  void add(const LatencyHistogram& other);
  [[nodiscard]] std::int64_t count() const { return count_; }
  /// The smallest time such that at least `share` (0 to 1) of all are not longer; 0 without any.
  [[nodiscard]] double quantile(double share) const;
  /// [buckets in use]: counts from the first bucket on, for transport between ranks.
  [[nodiscard]] const std::vector<std::int64_t>& buckets() const { return buckets_; }
  static LatencyHistogram from_buckets(std::vector<std::int64_t> buckets);

 private:
  std::vector<std::int64_t> buckets_;  // grows to the longest time seen
  std::int64_t count_ = 0;
};

}  // namespace moebius
