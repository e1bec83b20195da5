// SPDX-License-Identifier: Apache-2.0
#include "ranks/job_costs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "base/failure.hpp"
#include "io/placement_file.hpp"

namespace moebius::ranks {
namespace {

/// A core of this kind of machine where nothing was measured: about what moebius profile finds for the tiny model in fp32 on one Zen 5 core
/// (250 GFLOP/s in expert calls, 180 in attention), bf16 with twice the arithmetic. Messages go through memory that ranks share.
policy::Device core_of_this_machine(ComputeType compute, int num_ranks) {
  const double cores = std::max(1U, std::thread::hardware_concurrency()), share = std::min(1.0, cores / num_ranks);
  return {.name = "one core of this machine for each rank, speeds not measured", .flops = share * (compute == ComputeType::bf16 ? 600e9 : 300e9),
          .bytes_per_s = share * 40e9, .efficiency = 0.8, .attention_efficiency = 0.6, .expert_overhead_s = 2e-6, .attention_overhead_s = 5e-6, .row_tile = 1};
}
const policy::Link shared_memory{"shared memory, not measured", 2e-6, 10e9};

}  // namespace

ResolvedJob with_measured_costs(ResolvedJob resolved) {
  Job& job = resolved.job;
  if (job.plan.profile.empty()) return resolved;
  const io::SpeedProfile profile = io::read_speed_profile(job.plan.profile);
  if (!profile.costs.known()) {
    throw Failure{ExitCode::bad_usage, fmt::format("{} holds no costs of stages (an older moebius wrote it) run moebius profile again", job.plan.profile)};
  }
  if (profile.compute != to_string(job.model.compute)) {
    throw Failure{ExitCode::bad_usage, fmt::format("{} was measured with compute = \"{}\" (the job has \"{}\") measure with the job's own", job.plan.profile, profile.compute,
                                                   to_string(job.model.compute))};
  }
  job.plan.costs = profile.costs;
  return resolved;
}

JobCosts costs_of(const Job& job, const ModelConfig& config, int num_ranks) {
  if (auto emulation = policy::make_emulation(job, config)) return {emulation->times, emulation->link};
  const policy::ModelSizes sizes = policy::own_sizes(config, job.model.compute);
  if (job.plan.costs.known()) return {policy::StageTimes("this machine as in " + job.plan.profile, job.plan.costs, sizes), policy::measured_link(job.plan.costs)};
  return {policy::StageTimes(core_of_this_machine(job.model.compute, num_ranks), sizes), shared_memory};
}

}  // namespace moebius::ranks
