// SPDX-License-Identifier: Apache-2.0
#pragma once
// The order in which attention ranks claim the lines of the input, and how many at a time. All ranks
// compute the same plan from the lengths of the lines; a claim is then one Fetch_and_op of +1 on a shared
// counter, and the number it returns names a span of lines. A pure function of (lengths, claimants,
// counter value): who claims when changes who computes a line, never which lines exist.
//
// Order: longest line first (ties to the lower line), so that the end of the run consists of short rows
// and no rank is left alone with a long one.
// Spans: factoring (Hummel, Schonberg and Flynn, CACM 35(8), 1992) by weight instead of by count. In
// rounds of one span per claimant, each span gets at most 1/(2 * claimants) of the weight left at the
// start of the round, but at least one line and at most max_span_lines. Spans shrink to single lines.

#include <cstdint>
#include <span>
#include <vector>

namespace moebius::policy {

/// Indices of all lines, longest first, ties to the lower index.
std::vector<std::int64_t> claim_order(std::span<const std::int64_t> line_bytes);

class ClaimPlan {
 public:
  /// What a line costs besides its text, in bytes of text: an empty line is a request, too.
  static constexpr std::int64_t line_overhead_bytes = 64;
  /// A claim is cheap (0.2 ms on an oversubscribed node), so larger spans would only hoard lines.
  static constexpr std::int64_t max_span_lines = 32;

  /// `line_bytes[i]` >= 0; `num_claimants` >= 1 attention ranks.
  ClaimPlan(std::span<const std::int64_t> line_bytes, int num_claimants);

  [[nodiscard]] std::int64_t num_claims() const { return static_cast<std::int64_t>(begin_.size()) - 1; }
  /// Lines of the claim that got this counter value (>= 0), in the order to run them; none after the last.
  [[nodiscard]] std::span<const std::int64_t> lines(std::int64_t claim) const;

 private:
  std::vector<std::int64_t> order_;  // [lines]
  std::vector<std::int64_t> begin_;  // [num_claims + 1] where in order_ each span begins
};

}  // namespace moebius::policy
