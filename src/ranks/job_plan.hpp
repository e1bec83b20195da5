// SPDX-License-Identifier: Apache-2.0
#pragma once
// The plan of a job before anything is loaded: from its job file, config.json and input alone to the question that policy/plan_modes
// answers; and a job that follows its plan (layout.mode = "auto").

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/job.hpp"
#include "base/model_config.hpp"
#include "comm/session.hpp"
#include "policy/plan_advice.hpp"
#include "policy/plan_modes.hpp"

namespace moebius::ranks {

/// How a rank cuts its work, from limits that were resolved for a job without and with a pipeline.
policy::PlanLimits plan_limits(const Job& job, const Job::Limits& limits, const Job::Limits& pipelined);

struct PlanOptions {
  double memory_gib = 0;       ///< of each rank; 0: that of the device, or what this machine has for all
  double prompt_tokens = 0;    ///< of each request, in place of those of the input; 0: those of the input
  double new_tokens = 0;       ///< beside prompt_tokens: generated
};

struct JobPlan {
  policy::PlanQuestion question;
  std::vector<policy::PlannedMode> modes;        ///< all of them
  std::vector<policy::PlanMode> allowed;         ///< by what the job fixes
  std::optional<policy::PlannedMode> best;       ///< of those allowed that fit; a bound only where nothing else is allowed
  std::optional<policy::PlannedMode> overall;    ///< the fastest prediction that fits, whatever the job fixes
  std::string devices;                           ///< whose times they are, and where from
  std::string work;                              ///< "12 requests, 3 450 tokens"
};

/// The question without its memory: of a job with these requests.
struct PlanQuestionParts {
  policy::PlanQuestion question;
  std::string devices;
};
PlanQuestionParts question_of(const Job& job, const ModelConfig& config, int num_ranks, std::span<const policy::RequestShape> shapes);

/// Throws Failure where the job cannot be planned; that nothing fits is for the caller to say (policy::refusal).
JobPlan plan_job(const ResolvedJob& resolved, int num_ranks, const PlanOptions& options);

/// The job with what its plan recommends in place of layout.mode = "auto", and "plan" as origin of the keys that were set. Any other
/// job as it is. Throws Failure(does_not_fit) where nothing fits. `advice` gets the recommendation.
ResolvedJob follow_plan(const ResolvedJob& resolved, int num_ranks, std::string& advice);
/// Collective: rank 0 plans, says so on stderr, and tells the others.
ResolvedJob follow_plan_together(comm::Session& session, const ResolvedJob& resolved);

}  // namespace moebius::ranks
