// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the stages and links of a job cost, for whoever predicts: those of the emulated device, those that plan.profile holds, or a stated
// guess of this machine.

#include "base/job.hpp"
#include "base/model_config.hpp"
#include "policy/device_model.hpp"
#include "policy/link_model.hpp"

namespace moebius::ranks {

/// With the costs that plan.profile holds, where it is set. Throws Failure(bad_usage) where the file has none, or is of another compute type.
ResolvedJob with_measured_costs(ResolvedJob resolved);

struct JobCosts {
  policy::StageTimes times;
  policy::Link link;
};

/// `config`: whose sizes count where the job emulates nothing. num_ranks: ranks that share the cores of this machine.
JobCosts costs_of(const Job& job, const ModelConfig& config, int num_ranks);

}  // namespace moebius::ranks
