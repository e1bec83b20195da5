// SPDX-License-Identifier: Apache-2.0
#pragma once
// A small discrete-event model of attention ranks and expert ranks that pass tokens through N layers of
// E experts, top-k each, with a real Scheduler on a real QueueTable on every rank. Time is simulated: a
// run of n rows takes call_s + n * row_s, a message link_s. Deterministic for a seed.

#include <cstdint>
#include <vector>

#include "policy/scheduler.hpp"

namespace moebius::policy::testing {

struct SimulationOptions {
  Job::Schedule schedule;
  int num_layers = 4, num_experts = 8, top_k = 2;
  int num_attention_ranks = 2, num_expert_ranks = 2;
  std::int64_t max_rows_per_run = 16;
  double call_s = 1e-3, row_s = 1e-4, link_s = 1e-4;
  std::int64_t num_tokens = 100;  ///< arrive one after the other, token i at attention rank i mod A
  double arrival_gap_s = 1e-3;
  double end_s = 1e30;            ///< stop looking at this time
  std::uint64_t seed = 1;
};

/// Rows of one rank: `received` entered its queues, `sent` were computed and passed on.
struct RankCounts {
  std::int64_t received = 0, queued = 0, running = 0, sent = 0;
};

struct SimulationResult {
  std::int64_t num_finished = 0;      ///< tokens through the last stage
  double longest_wait_s = 0.0;        ///< of any row that ran, or still waits at the end
  std::int64_t num_runs = 0;
  std::int64_t num_violations = 0;    ///< events after which a rank broke received = queued + running + sent,
                                      ///< or its table did not say what its queues hold, or a pick was wrong
  std::vector<RankCounts> ranks;      ///< attention ranks, then expert ranks
};

SimulationResult simulate(const SimulationOptions& options);

}  // namespace moebius::policy::testing
