// SPDX-License-Identifier: Apache-2.0
#pragma once
// How many (row, expert) pairs reach the expert ranks of a job, as a plan expects them: from recorded loads or even ones, through the
// capacity of experts (policy/capacity.hpp) where the job has one. Pure.

#include <vector>

#include "base/job.hpp"
#include "policy/plan_times.hpp"

namespace moebius::policy {

/// Calls of the router that a capacity cuts: of so many tokens, k experts each.
struct RouterCalls {
  double tokens = 0;
  int experts_per_token = 1;
};

/// With experts on ranks in equal runs of ids; the capacity may be off. A number of rows of an expert in a call is nearly a normal one.
/// loads: [layers][experts] rows that the router chose; layers without rows do not count.
BusiestRank linear_imbalance(const std::vector<std::vector<double>>& loads, int expert_ranks, const Job::Capacity& capacity = {}, const RouterCalls& calls = {});

}  // namespace moebius::policy
