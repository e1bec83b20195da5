// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which ranks hold which role. A pure decision, taken by every rank for itself from the job and the
// number of ranks, before anything is allocated.
//   one rank     holds both roles, whatever the mode
//   colocated    every rank holds both roles
//   replicate    every rank holds both roles and all experts: no rank needs another
//   auto         as split: what follows a plan has put the mode of the plan in its place (ranks/job_plan.hpp)
//   split        ranks 0..A-1 attention, A..N-1 experts; counts left at 0 are filled in: both open = half
//                of the ranks, rounded up, for attention; one open = what the other leaves

#include <string>
#include <vector>

#include "base/ids.hpp"
#include "base/job.hpp"

namespace moebius::policy {

struct RankLayout {
  std::vector<RankId> attention_ranks;  ///< ascending, never empty
  std::vector<RankId> expert_ranks;     ///< ascending, never empty; the same ranks where colocated
  bool replicated = false;              ///< each rank has a whole model
  [[nodiscard]] bool colocated() const { return attention_ranks == expert_ranks; }
  /// "split: 2 attention, 1 expert ranks", as outputs say it.
  [[nodiscard]] std::string describe() const;
};

/// Throws Failure(bad_usage) where the counts do not add up to `num_ranks` (>= 1).
RankLayout decide_layout(int num_ranks, LayoutMode mode, int attention_ranks, int expert_ranks);

/// The ranks that `rank` exchanges rows with: all of the layout, or it alone where ranks have whole models.
RankLayout exchange_group(const RankLayout& layout, RankId rank);

}  // namespace moebius::policy
