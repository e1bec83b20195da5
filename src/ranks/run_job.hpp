// SPDX-License-Identifier: Apache-2.0
#pragma once
// A job from files to results, on all ranks of a session.
//
// Set-up (collective, any failure ends all ranks with one message) -> event loop (no collective, no
// two-sided message) -> wind-up (collective): rank 0 writes the master file over everybody's blocks.
// Where the result folder holds an unfinished run of the same job, its committed rows are kept and the others run.

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/hash.hpp"
#include "base/job.hpp"
#include "base/shard.hpp"
#include "comm/session.hpp"
#include "io/output_directory.hpp"
#include "io/results_master.hpp"
#include "policy/capacity.hpp"
#include "ranks/emulation.hpp"

namespace moebius::ranks {

struct RunOptions {
  io::OnExisting on_existing = io::OnExisting::resume;
  std::vector<std::pair<std::string, std::string>> build_facts;  ///< attributes of the results: version, commit, ...
  std::optional<std::uint64_t> shuffle_seed;  ///< claim in a random order instead of longest first
  std::int64_t max_requests = 0;              ///< a random sample of the requests; 0: all
  std::optional<Shard> shard;                 ///< the part of the requests that this run has; absent: all
};

/// How a job ended. Known to all ranks.
enum class JobEnd : std::uint8_t {
  done,
  was_done,  ///< an earlier run had left nothing to do
  stopped,   ///< by a signal, near the end of its walltime, or by too many failed rows: requests are left, results.h5 is not written
};

/// What a micro-batch asked of the expert ranks, in the mean: the most of a rank, and the mean of ranks.
struct ActivationSummary {
  double activated_max = 0, activated_mean = 0;  ///< physical experts with rows
  double rows_max = 0, rows_mean = 0;
  double even_share = 0;  ///< of micro-batches, with rows dealt out to all replicas
};

/// What rank 0 knows at the end; other ranks get zeros.
struct JobOutcome {
  JobEnd end = JobEnd::done;
  std::int64_t restart_count = 0;   ///< how often the job was resumed
  std::int64_t rows_before = 0;     ///< committed by earlier runs
  std::int64_t requests_left = 0;   ///< of a job that was stopped
  std::int64_t requests = 0, rows = 0, rows_failed = 0;
  std::int64_t tokens_fed = 0, tokens_out = 0;  ///< positions computed; tokens scored or generated
  std::int64_t root_tokens = 0, root_tokens_reused = 0;  ///< of contexts, prompts and windows: all; from the prefix cache
  std::int64_t kv_blocks_evicted = 0;
  std::int64_t unknown_fields = 0;              ///< fields of requests that were ignored
  double load_s = 0;                            ///< longest time of a rank to read and pack its weights
  std::int64_t load_bytes = 0;                  ///< read of tensors, all ranks together
  double loop_s = 0;                            ///< longest event loop of a rank
  std::int64_t inter_token_count = 0;           ///< tokens that follow another one of their generation
  double inter_token_p50_s = 0, inter_token_p99_s = 0;  ///< time since that one, within 0.5 %; 0 without
  Digest128 digest;
  bool conserved = false;   ///< (row, expert) pairs sent = computed = returned, requests taken = emitted
  ActivationSummary activation;
  policy::CapacityCounters capacity;
  std::int64_t expert_calls = 0;  ///< each reads the weights of an expert once
  std::int64_t generations = 0, experts_moved = 0;  ///< changes of the placement while the job ran
  double largest_stall_s = 0, longest_expert_call_s = 0;  ///< a turn of a loop that moved experts; 0 where none may move
  double imbalance = 1.0;   ///< busiest expert rank over the mean, in rows
  std::int64_t peak_rss_bytes = 0;  ///< of the largest rank
  std::string memory;               ///< what the largest rank of each role uses it for, a line each
  EmulationSummary emulation;
  io::PredictedTable predicted;     ///< beside what was measured
  std::string emulation_text;       ///< what was emulated
  double overhead_share = 0;  ///< largest share of a rank's loop that was neither compute nor waiting for rows
};

/// Collective. Throws AgreedFailure from the set-up; anything else that leaves here is fatal for the
/// whole session and the caller has to abort it.
JobOutcome run_job(comm::Session& session, const ResolvedJob& resolved, const RunOptions& options);

}  // namespace moebius::ranks
