// SPDX-License-Identifier: Apache-2.0
#pragma once
// What ranks tell of experts that moved while the job ran, and how it becomes tables of the results.

#include <cstdint>
#include <span>
#include <vector>

#include "io/results_master.hpp"
#include "policy/placement.hpp"
#include "ranks/live_placement.hpp"

namespace moebius::ranks {

struct LiveReport {
  std::uint8_t is_on = 0;  ///< experts may move
  LiveCounters counters;
  double longest_expert_call_s = 0;
  std::int32_t num_spare = 0;
  std::vector<LiveChange> changes;          ///< of the coordinator, those that were published
  std::vector<policy::ExpertMove> moves;    ///< of these changes, one after the other
};

/// Of a rank when its loop has ended; either may be nullptr.
LiveReport make_live_report(const LivePlacement* live, const ExpertSide* experts);

/// /rebalance and the generations of /experts/placement. live: of all ranks; placement: that of the start.
void fill_rebalance(io::RunRecord& record, std::span<const LiveReport> live, const policy::TablePlacement& placement,
                    std::span<const RankId> expert_ranks);

}  // namespace moebius::ranks
