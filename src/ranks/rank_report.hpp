// SPDX-License-Identifier: Apache-2.0
#pragma once
// What each rank tells rank 0 at the end of a job, and how it becomes tables of the results.

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/latency_histogram.hpp"
#include "base/series.hpp"
#include "base/timing.hpp"
#include "io/results_master.hpp"
#include "policy/replica_router.hpp"
#include "policy/routing_recorder.hpp"
#include "ranks/attention_side.hpp"
#include "ranks/emulation.hpp"
#include "ranks/expert_side.hpp"
#include "ranks/job_setup.hpp"
#include "ranks/live_report.hpp"
#include "ranks/workload.hpp"

namespace moebius::ranks {

struct RankReport {
  std::int64_t rank = 0;
  std::string role, node;
  double loop_s = 0;
  std::int64_t num_unknown_fields = 0;            ///< ignored fields of the requests it read
  std::int64_t peak_rss_bytes = 0;
  std::vector<std::pair<std::string, std::int64_t>> memory;  ///< bytes by kind
  std::array<PhaseTotal, num_phases> phases{};
  AttentionCounters attention;                    ///< zeros without the role
  WorkloadCounters work;
  std::int64_t kv_blocks_evicted = 0;
  std::vector<std::int64_t> inter_token_buckets;  ///< of a LatencyHistogram; empty without generations
  ExpertCounters experts;
  std::vector<std::vector<std::int64_t>> load;    ///< rows computed per [layer][logical expert]
  policy::ActivationCounters activation;          ///< empty without attention
  std::vector<policy::CapacityCounters> capacity; ///< [layers]; empty where experts have no capacity
  EmulatedRank emulation;                         ///< zeros in real time
  std::string pipeline_choices = "none";          ///< which r1, r2 and order the solver gave to how many mini-batches
  policy::RoutingTrace trace;                     ///< empty where nothing was recorded
  LiveReport live;
  std::vector<SeriesPoint> series;
  std::vector<Interval> timeline;                 ///< empty where it was not recorded
  std::vector<Transfer> transfers;                ///< the same
  std::int64_t intervals_left_out = 0;            ///< of the timeline and the transfers, when they were full
  double exposed_s = 0;                           ///< as Arrivals has it; nan where it was not measured
};

/// Between ranks of one build; a report that was cut short is a broken contract.
std::vector<std::byte> to_bytes(const RankReport& report);
RankReport report_from_bytes(std::span<const std::byte> bytes);

ActivationSummary summarise_activation(const std::vector<RankReport>& reports, std::size_t num_expert_ranks);

/// Of all attention ranks together.
policy::ActivationCounters all_activation(const std::vector<RankReport>& reports);

/// Times between consecutive tokens of a generation, of all attention ranks together.
LatencyHistogram all_inter_token_times(const std::vector<RankReport>& reports);

/// Timing, memory, expert load and placement of all ranks.
void fill_rank_tables(io::RunRecord& record, const std::vector<RankReport>& reports, const JobSetup& setup);

/// Largest resident set of this process so far.
std::int64_t peak_rss_bytes();

}  // namespace moebius::ranks
