// SPDX-License-Identifier: Apache-2.0
#pragma once
// The resolved job: what a job file and --set say, with every default filled in. `io` reads it,
// everybody may read from it, nobody changes it after the start. Keys: FORMATS, README.md.

#include <cstdint>
#include <string>
#include <vector>

#include "base/model_config.hpp"
#include "base/stage_costs.hpp"

namespace moebius {

/// replicate: every rank has a whole model and exchanges no rows, the control that often wins where the model fits.
/// automatic: the one that the plan of the job recommends (ranks/job_plan.hpp), which stands in its place once a run begins.
enum class LayoutMode : std::uint8_t { split, colocated, replicate, automatic };
/// async: each rank runs whichever queue its scheduler picks. lockstep: all ranks step through the layers together, the
/// conventional way and the baseline of every comparison.
/// pipeline: a fixed order of micro-batches and token parts between attention and expert ranks.
enum class Execution : std::uint8_t { async, lockstep, pipeline };
/// Order of a micro-batch's shared experts S in a pipeline: behind its attention A (A0 S0 A1 S1 ..), or behind all (A0 A1 .. S0 S1 ..);
/// fused: a part of A, before its rows go to the experts. automatic: asas or aass, whichever the solver finds faster.
enum class PipelineOrder : std::uint8_t { asas, aass, fused, automatic };
enum class SchedulerKind : std::uint8_t { defrag, mtfs, flfs, mbflfs };
enum class ProgressKind : std::uint8_t { automatic, bar, json, off };
/// Which rank has which expert (policy/plan_placement.hpp). `gem` is GEM-style, reconstructed (arXiv 2605.19945).
enum class PlannerKind : std::uint8_t { linear, round_robin, eplb, eplb_strict, speed_lpt, trace_lpt, gem };
/// Which copy of an expert serves a row (policy/replica_router.hpp).
enum class ReplicaRouterKind : std::uint8_t { even, metro, fewest_first, exact };
/// What happens to (row, expert) pairs above an expert's capacity (policy/capacity.hpp).
enum class CapacityMethod : std::uint8_t { off, drop, expanded_drop, one_shot, reroute };
enum class CapacityMetric : std::uint8_t { score, order, reverse, random };
enum class CapacityScope : std::uint8_t { expert, device };
enum class CapacityPhase : std::uint8_t { all, prompts, generation };
/// Whose times the stages of a run in slow motion last (policy/device_model.hpp). none: real time. measured: those of plan.profile.
enum class EmulatedDevice : std::uint8_t { none, h100, a100, custom, measured };
enum class EmulatedLink : std::uint8_t { nvlink, pcie, network, custom };
/// Whose sizes count. own: those of the checkpoint.
enum class EmulatedModel : std::uint8_t { own, mixtral_8x7b, qwen3_30b_a3b, qwen3_235b_a22b, deepseek_v2_lite, deepseek_v2, deepseek_v3 };
/// Whose layers, experts and top-k: those of the published model, which the checkpoint then must have, or its own.
enum class EmulatedShape : std::uint8_t { published, checkpoint };

/// Defaults are those of an empty job file. 0 in a size means: chosen from the model and the ranks.
struct Job {
  struct Model {
    std::string path;
    ComputeType compute = ComputeType::fp32;
  } model;
  struct Input {
    std::string path;
  } input;
  struct Output {
    std::string path;
  } output;
  struct Layout {
    LayoutMode mode = LayoutMode::split;  ///< one rank alone is always colocated
    int attention_ranks = 0;              ///< split: 0 = half of the ranks, rounded up
    int expert_ranks = 0;                 ///< split: 0 = the others
  } layout;
  struct Schedule {
    Execution execution = Execution::async;
    /// Lowest layer first: what runs ahead waits until the rest has caught up, so batches stay whole. Against
    /// defrag it generates 1.9 times as fast with a mid-size model on two ranks (jobs/bench_model.sh).
    SchedulerKind scheduler = SchedulerKind::flfs;
    double delta = 0.8;       ///< defrag: weight of one layer ahead (the AMoE authors' code)
    int lookahead = 7;        ///< defrag: layers looked ahead (the AMoE authors' code)
    bool lookback = false;    ///< defrag: add the mean length over the last 10 picks
    int block_layers = 2;     ///< mbflfs: s
    double aging_ms = 200.0;  ///< a queue whose oldest row waited longer goes first
    bool gather_short_batches = true;  ///< a short batch waits a moment for rows that are under way to it
    bool group_expert_calls = true;    ///< async: all experts of a layer that have rows run one behind the other, as one grouped product
  } schedule;
  struct Pipeline {
    int r1 = 0;  ///< micro-batches of a rank's mini-batch; 0: by the solver
    int r2 = 0;  ///< token parts of a micro-batch; 0: by the solver
    PipelineOrder order = PipelineOrder::automatic;
  } pipeline;
  struct Limits {
    int max_tokens_in_flight = 1024;  ///< per attention rank; bounds expert queue memory
    int segment_tokens = 64;          ///< longest run of positions that moves as a unit
    int micro_batch_tokens = 256;     ///< most tokens of one attention micro-batch
    int expert_rows = 256;            ///< most rows of one expert call
    std::int64_t kv_tokens = 0;       ///< per attention rank; 0 = from the model length and the token budget
    bool prefix_cache = true;         ///< requests that begin alike share the KV of what they share
  } limits;
  struct Placement {
    PlannerKind planner = PlannerKind::linear;
    std::string file;     ///< a placement to load in place of planning; empty: none
    std::string trace;    ///< results of a run that recorded its routing, for planners that look at loads; empty: none
    std::string profile;  ///< speed curves of the expert ranks; empty: all alike, time in proportion to rows
    int trace_steps = 16;              ///< steps of the trace that planners see
    int nodes = 1;                     ///< eplb: groups of expert ranks that hold the same groups of experts
    bool record_trace = false;         ///< write rows per (step, layer, expert) into the results
    std::vector<double> emulated_slowdown;  ///< factor on the time of each expert rank's expert calls; missing ones: 1
  } placement;
  struct Replicas {
    double ratio = 1.0;  ///< physical experts for each logical one
    ReplicaRouterKind router = ReplicaRouterKind::even;
    double knee_rows = 16.0;  ///< rows per active expert above which `even` is used whatever the router
  } replicas;
  struct Rebalance {
    double interval_s = 0.0;  ///< how often the loads are looked at; 0: the placement stays
    double horizon_s = 60.0;  ///< how long a new placement is taken to be of use: its gain over this time must pay its moves
    bool force = false;       ///< experts move in every interval whatever it is worth, for tests
    int spare_places = 2;     ///< experts that each expert rank has room for beyond its own
  } rebalance;
  struct Capacity {
    CapacityMethod method = CapacityMethod::off;
    double gamma = 1.5;               ///< capacity as a multiple of the mean load of an expert
    std::vector<double> layer_gamma;  ///< of each layer, in place of gamma; missing ones: gamma
    CapacityMetric metric = CapacityMetric::score;
    CapacityScope scope = CapacityScope::expert;
    CapacityPhase phase = CapacityPhase::all;
    double min_mean_load = 16.0;      ///< no capacity where an expert has fewer rows in the mean
    int rounds = 1;                   ///< reroute: how often a dropped pair looks for another expert
  } capacity;
  /// What plans, the solver of pipelines and emulation.device = profile count with.
  struct Plan {
    std::string profile;  ///< a file that moebius profile wrote; empty: none
    StageCosts costs;     ///< those in it: no key, read where they are needed (ranks/measured_costs.hpp)
  } plan;
  /// Slow motion. A number that is 0 is that of the preset.
  struct Emulation {
    EmulatedDevice device = EmulatedDevice::none;
    EmulatedModel model = EmulatedModel::own;
    EmulatedShape shape = EmulatedShape::published;
    EmulatedLink link = EmulatedLink::nvlink;
    double dilation = 100.0;          ///< seconds here for each second of the device
    double efficiency = 0.0;            ///< share of the device's two rates that programs reach
    double attention_efficiency = 0.0;  ///< of attention stages and the LM head; 0: as efficiency
    double flops = 0.0;               ///< per second
    double bytes_per_s = 0.0;
    double expert_overhead_us = 0.0;  ///< of an expert call, before the first byte
    double attention_overhead_us = 0.0;
    int row_tile = 0;                 ///< products compute whole tiles of so many rows
    double link_bytes_per_s = 0.0;
    double link_latency_us = 0.0;
    double tokens_per_row = 1.0;      ///< tokens with the same experts that a row stands for
    [[nodiscard]] bool on() const { return device != EmulatedDevice::none; }
  } emulation;
  struct Run {
    std::uint64_t seed = 0;
    int rows_per_block = 1024;
    bool strict = false;             ///< failed rows give exit code 3
    std::int64_t max_errors = -1;    ///< more failed rows than that end the job with 3; -1: any number
    ProgressKind progress = ProgressKind::automatic;
    bool timeline = false;           ///< every interval of every rank goes into the results
    double walltime_s = 0.0;         ///< from the start of the run; 0: as Slurm says, or none
    double grace_s = 20.0;           ///< from the first signal until what is not finished is dropped
    double watchdog_s = 300.0;       ///< a rank without progress for so long ends the job with 71
    double setup_limit_s = 3600.0;   ///< most time between two meetings of all ranks before and after the work; 0: no limit
  } run;
};

const char* to_string(LayoutMode mode);
const char* to_string(Execution execution);
const char* to_string(PipelineOrder order);
const char* to_string(SchedulerKind kind);
const char* to_string(ProgressKind kind);
const char* to_string(PlannerKind kind);
const char* to_string(ReplicaRouterKind kind);
const char* to_string(CapacityMethod method);
const char* to_string(CapacityMetric metric);
const char* to_string(CapacityScope scope);
const char* to_string(CapacityPhase phase);
const char* to_string(EmulatedDevice device);
const char* to_string(EmulatedLink link);
const char* to_string(EmulatedModel model);
const char* to_string(EmulatedShape shape);

/// One resolved key for `moebius show` and for the output file: "limits.kv_tokens", value as TOML, and
/// where it came from: "default", "job.toml:12", "command line".
struct JobEntry {
  std::string key, value, origin;
};

struct ResolvedJob {
  Job job;
  std::vector<JobEntry> entries;  ///< every key once, in the order of the documentation
};

}  // namespace moebius
