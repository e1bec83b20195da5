// SPDX-License-Identifier: Apache-2.0
#include "policy/shard_split.hpp"

#include <numeric>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

/// The first request that begins at or behind `cut` bytes.
std::size_t first_behind(std::span<const std::int64_t> weights, std::int64_t cut) {
  std::int64_t begin = 0;
  std::size_t i = 0;
  for (; i < weights.size() && begin < cut; ++i) begin += weights[i];
  return i;
}

}  // namespace

RequestRange shard_range(std::span<const std::int64_t> weights, const Shard& shard) {
  MOEBIUS_EXPECT(shard.count >= 1 && shard.idx >= 0 && shard.idx < shard.count);
  const std::int64_t total = std::accumulate(weights.begin(), weights.end(), std::int64_t{0});
  // floor(total * k / count) without a product that could be too large.
  const auto cut = [&](std::int64_t k) { return total / shard.count * k + total % shard.count * k / shard.count; };
  const std::size_t last = shard.idx + 1 == shard.count ? weights.size() : first_behind(weights, cut(shard.idx + 1));
  return {.first = first_behind(weights, cut(shard.idx)), .last = last};
}

}  // namespace moebius::policy
