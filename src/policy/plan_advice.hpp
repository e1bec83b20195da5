// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a plan says in words: which way to take and why, what would change that, and what to do where nothing fits. Pure.

#include <string>
#include <vector>

#include "policy/plan_modes.hpp"

namespace moebius::policy {

/// The keys of a job that make it run so.
std::string setting_of(const PlannedMode& plan);
/// One sentence: what to take, and why. `best` is one of `modes`.
std::string recommendation(const PlanQuestion& question, const std::vector<PlannedMode>& modes, const PlannedMode& best);
/// What links of ten times the rate, and twice as many ranks, would change, a sentence each.
std::vector<std::string> what_would_change(const PlanQuestion& question, const std::vector<PlannedMode>& modes);
/// The fewest ranks, by doubling, on which something fits, with as much memory for each; 0: none up to 65536.
int ranks_that_fit(const PlanQuestion& question);
/// Why nothing fits, with the numbers, and what to do.
std::string refusal(const PlanQuestion& question, const std::vector<PlannedMode>& modes);

}  // namespace moebius::policy
