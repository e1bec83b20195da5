// SPDX-License-Identifier: Apache-2.0
#pragma once
// Measures what the stages of attention ranks and the links between ranks cost, for `moebius profile`: samples for the models of
// policy/cost_model.hpp. All ranks measure their stages at once, since ranks of a node share its memory; rank 0's samples count. Experts
// are measured by speed_profiler.hpp.

#include <string>
#include <vector>

#include "base/job.hpp"
#include "base/stage_costs.hpp"
#include "comm/session.hpp"
#include "io/placement_file.hpp"
#include "policy/cost_model.hpp"

namespace moebius::ranks {

struct StageProfileOptions {
  int num_warm_ups = 10, num_repeats = 20;  ///< of which the median counts (ALGORITHMS section 5)
  double most_point_s = 0.6;                ///< a point that would take longer is measured less often
};

/// One stage or class of links: its samples, and the line through them.
struct MeasuredStage {
  std::string name;                   ///< "attention"
  std::vector<std::string> terms;     ///< "1", "rows", ..
  std::vector<policy::CostSample> samples;
  policy::CostFit fit;
};

/// Collective; throws AgreedFailure. On rank 0 the stages that the model has; others get none. experts: of speed_profiler, fitted too.
std::vector<MeasuredStage> profile_stages(comm::Session& session, const Job& job, const io::SpeedProfile& experts, const StageProfileOptions& options);
StageCosts costs_of(const std::vector<MeasuredStage>& stages);

}  // namespace moebius::ranks
