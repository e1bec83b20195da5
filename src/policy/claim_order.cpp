// SPDX-License-Identifier: Apache-2.0
#include "policy/claim_order.hpp"

#include <algorithm>
#include <numeric>

#include "base/check.hpp"

namespace moebius::policy {

std::vector<std::int64_t> claim_order(std::span<const std::int64_t> line_bytes) {
  std::vector<std::int64_t> order(line_bytes.size());
  std::iota(order.begin(), order.end(), std::int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int64_t a, std::int64_t b) { return line_bytes[a] > line_bytes[b]; });
  return order;
}

ClaimPlan::ClaimPlan(std::span<const std::int64_t> line_bytes, int num_claimants) : order_(claim_order(line_bytes)) {
  MOEBIUS_EXPECT(num_claimants >= 1);
  const auto weight = [&](std::size_t place) { return line_bytes[order_[place]] + line_overhead_bytes; };
  std::int64_t weight_left = 0;
  for (std::size_t place = 0; place < order_.size(); ++place) weight_left += weight(place);

  begin_.push_back(0);
  std::size_t place = 0;
  while (place < order_.size()) {
    const std::int64_t target = weight_left / (2 * std::int64_t{num_claimants});
    for (int claimant = 0; claimant < num_claimants && place < order_.size(); ++claimant) {
      const std::size_t first = place;
      std::int64_t span_weight = 0;
      do {
        span_weight += weight(place);
        ++place;
      } while (place < order_.size() && place - first < max_span_lines && span_weight + weight(place) <= target);
      weight_left -= span_weight;
      begin_.push_back(static_cast<std::int64_t>(place));
    }
  }
}

std::span<const std::int64_t> ClaimPlan::lines(std::int64_t claim) const {
  MOEBIUS_EXPECT(claim >= 0);
  if (claim >= num_claims()) return {};
  const auto begin = static_cast<std::size_t>(begin_[claim]), end = static_cast<std::size_t>(begin_[claim + 1]);
  return std::span(order_).subspan(begin, end - begin);
}

}  // namespace moebius::policy
