// SPDX-License-Identifier: Apache-2.0
#pragma once
// results.h5: all rows of a run in input order, as virtual datasets over the row blocks, and beside them
// what is known of the run. Written by rank 0 when all blocks are committed.
// Invariants: sources are named relative to the folder, which can be moved; elements of a block that is
// not there read as fill values (NaN, -1, "missing"), never as data; the digest is the sum over the rows.

#include <cstdint>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "base/hash.hpp"
#include "base/series.hpp"
#include "base/timing.hpp"

namespace moebius::io {

/// What one rank did in one phase.
struct RankTiming {
  int rank = 0;
  std::string role;  ///< "attention", "expert", "colocated"
  std::string node;  ///< host name
  Phase phase = Phase::idle;
  PhaseTotal total;
};

struct RankMemory {
  int rank = 0;
  std::int64_t peak_rss_bytes = 0;
};

/// What the prefix cache of one attention rank was worth.
struct RankPrefixCache {
  int rank = 0;
  std::int64_t root_tokens = 0;         ///< of all contexts, prompts and windows
  std::int64_t root_tokens_reused = 0;  ///< of these: not computed, an earlier request had begun with them
  std::int64_t kv_blocks_evicted = 0;
};

/// Times between consecutive tokens of a generation on one attention rank, within 0.5 %; zeros where it generated nothing.
struct RankLatency {
  int rank = 0;
  std::int64_t inter_token_count = 0;
  double inter_token_p50_s = 0, inter_token_p99_s = 0, inter_token_max_s = 0;
};

/// What one rank did in its loop.
struct RankWork {
  int rank = 0;
  double loop_s = 0;                            ///< without waiting for other ranks at its end
  std::int64_t tokens_fed = 0, tokens_out = 0;  ///< positions computed; of these, tokens scored or generated
  std::int64_t micro_batches = 0;               ///< of attention, in all layers
  std::int64_t expert_calls = 0, expert_rows = 0;
  std::int64_t intervals_left_out = 0;          ///< that no longer fitted into the timeline, transfers included
  double exposed_s = std::numeric_limits<double>::quiet_NaN();  ///< without work while a message to the rank was under way; nan: not measured
  bool operator==(const RankWork&) const = default;
};

/// What one rank did at a time; the intervals of a rank follow each other without gaps (job key run.timeline).
struct RankInterval {
  int rank = 0;
  Interval interval;
};

/// A message with rows that came to a rank (job key run.timeline).
struct RankTransfer {
  int rank = 0;
  Transfer transfer;
};

struct RankSeriesPoint {
  int rank = 0;
  SeriesPoint point;
};

/// Rows that each routed expert worked on.
struct ExpertLoad {
  int num_layers = 0, num_experts = 0;
  std::vector<std::int64_t> rows;  // [num_layers, num_experts]
};

/// Which logical expert sat where, for every generation of the placement.
struct PlacementHistory {
  int num_generations = 0, num_layers = 0, num_ranks = 0, num_places = 0;
  std::vector<std::int32_t> expert;  // [num_generations, num_layers, num_ranks, num_places], -1: empty
};

/// Rows of each expert while the job ran; a step is a number of tokens of each attention rank (job key
/// placement.record_trace). Empty where nothing was recorded.
struct RoutingTrace {
  std::int64_t step_tokens = 0;
  int num_steps = 0, num_layers = 0, num_experts = 0;
  std::vector<std::int32_t> rows;  // [num_steps, num_layers, num_experts]
};

/// What the micro-batches of all attention ranks asked of the expert ranks. An activated expert is a physical one
/// with at least one row in a micro-batch: its weights are read for it.
struct ExpertActivation {
  int num_layers = 0, num_ranks = 0;
  std::int64_t expert_weight_bytes = 0;             ///< of one physical expert
  std::vector<std::int64_t> micro_batches;          // [num_layers]
  std::vector<std::int64_t> even_micro_batches;     // [num_layers] of these, with rows dealt out to all replicas
  std::vector<std::int64_t> largest_activated;      // [num_layers] sum over micro-batches of the largest of a rank
  std::vector<std::int64_t> largest_rows;           // [num_layers] likewise
  std::vector<std::int64_t> activated, rows;        // [num_layers, num_ranks] sums over micro-batches
  std::vector<std::int64_t> max_activated, max_rows;  // [num_layers, num_ranks] of one micro-batch
};

/// (row, expert) pairs of each layer where experts have a capacity; empty where they have none.
struct CapacityTable {
  std::vector<std::int64_t> micro_batches, cut;     // [num_layers] all; those that were large enough to be cut
  std::vector<std::int64_t> kept, dropped, added;   // [num_layers] pairs of the router that stayed, or not; others
};

/// What slow motion lets a reader check; numbers are 0 and vectors empty where the run was in real time.
struct EmulationTable {
  double dilation = 0, seconds = 0, tokens_per_s = 0;  ///< emulated time and rate
  double compute_share = 0, slip = 0, missed_share = 0;  ///< see ranks/emulation.hpp
  std::vector<double> processor_s, loop_s, modelled_s, late_s, latest_s, shortest_s;  // [num_ranks]
  std::vector<std::int64_t> stages, late_stages;       // [num_ranks]
  bool operator==(const EmulationTable&) const = default;
};

/// What the plan of the run said, beside what it took; zeros where nothing was predicted. Seconds and layers are those of the device in
/// slow motion.
struct PredictedTable {
  double seconds = 0, measured_seconds = 0, tokens = 0, measured_tokens = 0, layer_seconds = 0, measured_layer_seconds = 0;
  double is_bound = 0;  ///< 1: the run can only be slower
  bool operator==(const PredictedTable&) const = default;
};

/// A change of the placement while the job ran.
struct PlacementChange {
  double time_s = 0;            ///< since the start of the loop
  std::int32_t generation = 0;  ///< that began
  double predicted_gain_s = 0, measured_gain_s = 0;  ///< over the horizon of the decision; measured: nan where it was not
  double cost_s = 0;            ///< that the decision counted with
  double staging_s = 0;         ///< from its announcement until it began
  std::int32_t num_moves = 0;   ///< experts that went to another rank
  std::int64_t bytes = 0;       ///< of their weights as they are here, also in slow motion
  double rank_s = std::numeric_limits<double>::quiet_NaN();  ///< time that ranks spent copying, sum of ranks; nan as measured_gain_s
  bool operator==(const PlacementChange&) const = default;
};

/// What moving experts cost a rank.
struct RankRebalance {
  std::int32_t rank = 0;
  std::int64_t experts_received = 0, bytes_staged = 0;
  double staging_s = 0, total_s = 0;  ///< copying weights; all that the loop spent on the placement
  double largest_stall_s = 0;         ///< the most that one turn of the loop spent on it
  double longest_expert_call_s = 0;   ///< of the same rank, to compare with
  bool operator==(const RankRebalance&) const = default;
};

/// The attributes and tables of a run. Texts that FORMAT.md wants: program_version, commit, build_flags,
/// library_versions, processor, model_path, model_hash, tokenizer_hash, chat_template_hash, job_toml, shard, rank_layout, expert_placement,
/// emulated_slowdown, emulation, emulation_valid, capacity.
struct RunRecord {
  std::vector<std::pair<std::string, std::string>> texts;  ///< attribute name, value
  std::uint64_t seed = 0;
  std::int64_t restart_count = 0;  ///< how often the job was resumed
  std::int64_t num_rows_expected = 0;
  std::string start_utc, end_utc;  ///< as utc_now() writes them
  std::vector<RankTiming> timing;
  std::vector<RankMemory> memory;
  std::vector<RankPrefixCache> prefix_caches;  ///< of the attention ranks
  std::vector<RankLatency> latencies;          ///< of the attention ranks
  std::vector<RankWork> work;
  std::vector<RankInterval> timeline;    ///< by rank, then by time; empty where it was not recorded
  std::vector<RankTransfer> transfers;   ///< by rank, in the order in which they came; empty where they were not recorded
  std::vector<RankSeriesPoint> series;   ///< by rank, then by time
  ExpertLoad load;
  PlacementHistory placement;
  RoutingTrace trace;
  ExpertActivation activation;
  CapacityTable capacity;
  EmulationTable emulation;
  PredictedTable predicted;
  std::vector<PlacementChange> changes;  ///< one for each generation after the first
  std::vector<RankRebalance> rebalance;  ///< of all ranks; empty where experts stay where they are
};

struct MasterSummary {
  std::int64_t num_rows = 0, num_tokens = 0, num_failed = 0, num_blocks = 0;
  Digest128 digest;  ///< the invariance digest
};

/// Writes (replaces) results.h5 over the committed blocks of `directory` and notes it in the journal.
/// `job_fingerprint` as the blocks have it. Failure where the blocks are not whole (block_index.hpp), the file cannot be
/// written, or another run has begun in the folder.
MasterSummary write_master(const std::filesystem::path& directory, const RunRecord& record, const std::string& job_fingerprint = {},
                           std::int64_t run = 0);

}  // namespace moebius::io
