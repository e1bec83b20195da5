// SPDX-License-Identifier: Apache-2.0
#pragma once
// The order in which attention ranks claim the lines of the input, and how many at a time. All ranks
// compute the same plan from the lines' lengths and beginnings; a claim is then one Fetch_and_op of +1 on
// a shared counter, and the number it returns names a span of lines. A pure function of (lines, claimants,
// counter value): who claims when changes who computes a line, never which lines exist.
//
// Order: lines that begin alike stand together, by the longest prefix first (PrefixKeys nest), so that a
// rank computes what they share once. Groups, and lines in a group, go longest line first (ties to the lower
// line), so that the end of the run consists of short rows and no rank is left alone with a long one. Lines
// that share nothing are groups of one: longest first.
// Spans: factoring (Hummel, Schonberg and Flynn, CACM 35(8), 1992) by weight instead of by count. In
// rounds of one span per claimant, each span gets at most 1/(2 * claimants) of the weight left at the
// start of the round, but at least one line and at most max_span_lines. Spans shrink to single lines. A group
// that fits into a span is not divided between two. What a line shares with the one before it weighs nothing.

#include <cstdint>
#include <span>
#include <vector>

#include "base/prefix_keys.hpp"

namespace moebius::policy {

/// What the plan knows of the lines. `bytes[i]` >= 0; `prefixes` has as many entries, or none.
struct ClaimLines {
  std::span<const std::int64_t> bytes;
  std::span<const PrefixKeys> prefixes;
};

/// Indices of all lines in the order of claims, and how many bytes each shares with the one before it.
struct ClaimOrder {
  std::vector<std::int64_t> lines;
  std::vector<std::int64_t> shared_bytes;  // [lines]
};
ClaimOrder claim_order(const ClaimLines& lines);

class ClaimPlan {
 public:
  /// What a line costs besides its text, in bytes of text: an empty line is a request, too.
  static constexpr std::int64_t line_overhead_bytes = 64;
  /// A claim is cheap (0.2 ms on an oversubscribed node), so larger spans would only hoard lines.
  static constexpr std::int64_t max_span_lines = 32;

  /// `num_claimants` >= 1 attention ranks.
  ClaimPlan(const ClaimLines& lines, int num_claimants);

  [[nodiscard]] std::int64_t num_claims() const { return static_cast<std::int64_t>(begin_.size()) - 1; }
  /// Lines of the claim that got this counter value (>= 0), in the order to run them; none after the last.
  [[nodiscard]] std::span<const std::int64_t> lines(std::int64_t claim) const;

 private:
  std::vector<std::int64_t> order_;  // [lines]
  std::vector<std::int64_t> begin_;  // [num_claims + 1] where in order_ each span begins
};

}  // namespace moebius::policy
