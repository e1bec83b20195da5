// SPDX-License-Identifier: Apache-2.0
#include "policy/claim_order.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <unordered_map>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

constexpr std::size_t num_levels = prefix_key_bytes.size();

/// Of the groups a line is in, by length of what they share, the line that goes first; at last itself.
using Heads = std::array<std::int64_t, num_levels + 1>;

std::vector<Heads> heads_of(const ClaimLines& lines) {
  const auto num_lines = static_cast<std::int64_t>(lines.bytes.size());
  std::vector<Heads> heads(lines.bytes.size());
  for (std::int64_t i = 0; i < num_lines; ++i) heads[i].fill(i);
  if (lines.prefixes.empty()) return heads;
  for (std::size_t level = 0; level < num_levels; ++level) {
    // A group is named by the head of the group around it and by its own key: groups nest, whatever collides.
    const auto name_of = [&](std::int64_t i) {
      const std::uint64_t around = level == 0 ? 0 : static_cast<std::uint64_t>(heads[i][level - 1]);
      return around << 32 | lines.prefixes[i][level];
    };
    std::unordered_map<std::uint64_t, std::int64_t> head_of;
    for (std::int64_t i = 0; i < num_lines; ++i) {
      if (lines.prefixes[i][level] == 0) continue;
      std::int64_t& head = head_of.try_emplace(name_of(i), i).first->second;
      if (lines.bytes[i] > lines.bytes[head]) head = i;
    }
    for (std::int64_t i = 0; i < num_lines; ++i) {
      if (lines.prefixes[i][level] != 0) heads[i][level] = head_of.at(name_of(i));
    }
  }
  return heads;
}

/// For each place the end of the run of places that share more with it than it shares with the one before.
std::vector<std::size_t> run_ends(std::span<const std::int64_t> shared_bytes) {
  std::vector<std::size_t> ends(shared_bytes.size()), open;
  for (std::size_t place = 0; place < shared_bytes.size(); ++place) {
    for (; !open.empty() && shared_bytes[place] <= shared_bytes[open.back()]; open.pop_back()) ends[open.back()] = place;
    open.push_back(place);
  }
  for (const std::size_t place : open) ends[place] = shared_bytes.size();
  return ends;
}

}  // namespace

ClaimOrder claim_order(const ClaimLines& lines) {
  MOEBIUS_EXPECT(lines.prefixes.empty() || lines.prefixes.size() == lines.bytes.size());
  const std::vector<Heads> heads = heads_of(lines);
  ClaimOrder order;
  order.lines.resize(lines.bytes.size());
  std::iota(order.lines.begin(), order.lines.end(), std::int64_t{0});
  std::ranges::sort(order.lines, [&](std::int64_t a, std::int64_t b) {
    const auto [first, second] = std::ranges::mismatch(heads[a], heads[b]);
    if (first == heads[a].end()) return false;
    return lines.bytes[*first] != lines.bytes[*second] ? lines.bytes[*first] > lines.bytes[*second] : *first < *second;
  });
  order.shared_bytes.assign(lines.bytes.size(), 0);
  for (std::size_t place = 1; place < order.lines.size(); ++place) {
    const std::int64_t line = order.lines[place], before = order.lines[place - 1];
    for (std::size_t level = 0; level < num_levels && heads[line][level] == heads[before][level]; ++level) {
      order.shared_bytes[place] = std::min(prefix_key_bytes[level], lines.bytes[line]);
    }
  }
  return order;
}

ClaimPlan::ClaimPlan(const ClaimLines& lines, int num_claimants) {
  MOEBIUS_EXPECT(num_claimants >= 1);
  ClaimOrder order = claim_order(lines);
  order_ = std::move(order.lines);
  const std::vector<std::size_t> ends = run_ends(order.shared_bytes);
  std::vector<std::int64_t> weight_before{0};  // [places + 1]
  for (std::size_t place = 0; place < order_.size(); ++place) {
    weight_before.push_back(weight_before.back() + lines.bytes[order_[place]] - order.shared_bytes[place] + line_overhead_bytes);
  }
  const auto weight = [&](std::size_t begin, std::size_t end) { return weight_before[end] - weight_before[begin]; };

  begin_.push_back(0);
  std::size_t place = 0;
  while (place < order_.size()) {
    const std::int64_t target = weight(place, order_.size()) / (2 * std::int64_t{num_claimants});
    for (int claimant = 0; claimant < num_claimants && place < order_.size(); ++claimant) {
      const std::size_t first = place;
      const auto fits = [&](std::size_t end) {
        return static_cast<std::int64_t>(end - first) <= max_span_lines && weight(first, end) <= target;
      };
      // Of a run that has room in a span of its own, all or nothing.
      const auto is_one_span = [&](std::size_t begin) {
        return static_cast<std::int64_t>(ends[begin] - begin) <= max_span_lines && weight(begin, ends[begin]) <= target;
      };
      do {
        ++place;
      } while (place < order_.size() && fits(is_one_span(place) ? ends[place] : place + 1));
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
