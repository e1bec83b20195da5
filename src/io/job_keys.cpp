// SPDX-License-Identifier: Apache-2.0
#include "io/job_keys.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>
#include <type_traits>

namespace moebius::io {
namespace {

// `access` is a generic lambda that takes a Job, const or not, and returns a reference to the member.
template <class Access>
IntegerKey integer(std::int64_t min, std::int64_t max, Access access) {
  return {min, max, [access](const Job& job) { return static_cast<std::int64_t>(access(job)); },
          [access](Job& job, std::int64_t value) {
            auto& member = access(job);
            member = static_cast<std::remove_reference_t<decltype(member)>>(value);
          }};
}

template <class Access>
NumberKey number(double min, double max, Access access) {
  return {min, max, [access](const Job& job) { return access(job); },
          [access](Job& job, double value) { access(job) = value; }};
}

/// The words are those of to_string.
template <class Enum, class Access>
ChoiceKey choice(std::vector<Enum> values, Access access) {
  ChoiceKey key;
  for (const auto value : values) key.allowed.emplace_back(to_string(value));
  key.get = [access](const Job& job) -> std::string_view { return to_string(access(job)); };
  key.set = [access, values](Job& job, std::string_view word) {
    for (const auto value : values) {
      if (word == to_string(value)) access(job) = value;
    }
  };
  return key;
}

constexpr int most_ranks = 1 << 20;
constexpr std::int64_t most_tokens = std::int64_t{1} << 40;
// The TOML library reads an integer that is too large as the largest one, which is therefore refused.
constexpr auto most_seed = std::numeric_limits<std::int64_t>::max() - 1;

void add_paths_and_layout(std::vector<JobKey>& keys) {
  keys.push_back({"model.path", Effect::execution, PathKey{[](Job& j) -> std::string& { return j.model.path; }},
                  "folder of a Hugging Face checkpoint"});
  keys.push_back(
      {"model.compute", Effect::results,
       choice(
           std::vector{ComputeType::fp32, ComputeType::bf16}, [](auto& j) -> auto& { return j.model.compute; }),
       "how numbers are stored and multiplied; sums are always fp32"});
  keys.push_back({"input.path", Effect::execution, PathKey{[](Job& j) -> std::string& { return j.input.path; }},
                  "requests: JSON lines, or a .txt file to score as a whole"});
  keys.push_back({"output.path", Effect::execution, PathKey{[](Job& j) -> std::string& { return j.output.path; }},
                  "folder for the results; made where it is missing"});
  keys.push_back({"layout.mode", Effect::execution,
                  choice(
                      std::vector{LayoutMode::split, LayoutMode::colocated, LayoutMode::replicate, LayoutMode::automatic}, [](auto& j) -> auto& { return j.layout.mode; }),
                  "split: ranks have attention or experts; colocated: every rank has both (as has one rank alone); replicate: every rank a whole model; auto: as moebius plan recommends"});
  keys.push_back({"layout.attention_ranks", Effect::execution,
                  integer(
                      0, most_ranks, [](auto& j) -> auto& { return j.layout.attention_ranks; }),
                  "split: ranks with attention; 0: half of all, rounded up"});
  keys.push_back({"layout.expert_ranks", Effect::execution,
                  integer(
                      0, most_ranks, [](auto& j) -> auto& { return j.layout.expert_ranks; }),
                  "split: ranks with experts; 0: the others"});
}

void add_schedule(std::vector<JobKey>& keys) {
  keys.push_back({"schedule.execution", Effect::execution,
                  choice(std::vector{Execution::async, Execution::lockstep, Execution::pipeline}, [](auto& j) -> auto& { return j.schedule.execution; }),
                  "async: each rank runs whichever queue its scheduler picks; lockstep: all step through the layers together; "
                  "pipeline: a fixed order of micro-batches and token parts, split layouts only"});
  keys.push_back(
      {"schedule.scheduler", Effect::execution,
       choice(
           std::vector{SchedulerKind::defrag, SchedulerKind::mtfs, SchedulerKind::flfs, SchedulerKind::mbflfs}, [](auto& j) -> auto& { return j.schedule.scheduler; }),
       "which queue runs next: defrag, most tokens first, first layer first, or that by blocks of layers"});
  keys.push_back({"schedule.delta", Effect::execution,
                  number(
                      0.0, 1.0, [](auto& j) -> auto& { return j.schedule.delta; }),
                  "defrag: weight of one layer ahead"});
  keys.push_back({"schedule.lookahead", Effect::execution,
                  integer(
                      0, 4096, [](auto& j) -> auto& { return j.schedule.lookahead; }),
                  "defrag: how many layers ahead it looks"});
  keys.push_back({"schedule.lookback", Effect::execution,
                  SwitchKey{[](Job& j) -> bool& { return j.schedule.lookback; }},
                  "defrag: add the mean length of a queue over the last 10 picks"});
  keys.push_back({"schedule.block_layers", Effect::execution,
                  integer(
                      1, 4096, [](auto& j) -> auto& { return j.schedule.block_layers; }),
                  "mbflfs: layers in a block"});
  keys.push_back({"schedule.aging_ms", Effect::execution,
                  number(
                      0.0, 1e9, [](auto& j) -> auto& { return j.schedule.aging_ms; }),
                  "a queue whose oldest row waited longer goes first, whatever the scheduler says"});
  keys.push_back({"schedule.gather_short_batches", Effect::execution,
                  SwitchKey{[](Job& j) -> bool& { return j.schedule.gather_short_batches; }},
                  "short batches wait for rows under way to them: of attention at most as long as two passes over a layer's experts take, of grouped experts one"});
  keys.push_back({"schedule.group_expert_calls", Effect::execution,
                  SwitchKey{[](Job& j) -> bool& { return j.schedule.group_expert_calls; }},
                  "asynchronous execution: all experts of the picked layer that have rows run one behind the other, in slow motion as one stage"});
}

void add_pipeline(std::vector<JobKey>& keys) {
  constexpr int most_parts = 1 << 16;
  keys.push_back({"pipeline.r1", Effect::execution,
                  integer(
                      0, most_parts, [](auto& j) -> auto& { return j.pipeline.r1; }),
                  "micro-batches that the tokens in flight of a rank are cut into; 0: as the solver finds best for each mini-batch"});
  keys.push_back({"pipeline.r2", Effect::execution,
                  integer(
                      0, most_parts, [](auto& j) -> auto& { return j.pipeline.r2; }),
                  "token parts in which a micro-batch goes to the experts; 0: as the solver finds best"});
  keys.push_back({"pipeline.order", Effect::execution,
                  choice(
                      std::vector{PipelineOrder::automatic, PipelineOrder::asas, PipelineOrder::aass, PipelineOrder::fused}, [](auto& j) -> auto& { return j.pipeline.order; }),
                  "shared experts of a micro-batch: behind its attention, behind that of all micro-batches, or before its rows leave (ping-pong); auto: the better of the first two"});
}

void add_limits(std::vector<JobKey>& keys) {
  keys.push_back({"limits.max_tokens_in_flight", Effect::execution,
                  integer(
                      1, 1 << 24, [](auto& j) -> auto& { return j.limits.max_tokens_in_flight; }),
                  "tokens in the layers at once, per attention rank; bounds the memory of expert queues"});
  keys.push_back({"limits.segment_tokens", Effect::execution,
                  integer(
                      1, 1 << 20, [](auto& j) -> auto& { return j.limits.segment_tokens; }),
                  "longest run of positions that moves through the layers as a unit"});
  keys.push_back({"limits.micro_batch_tokens", Effect::execution,
                  integer(
                      1, 1 << 20, [](auto& j) -> auto& { return j.limits.micro_batch_tokens; }),
                  "most tokens of one attention micro-batch"});
  keys.push_back({"limits.expert_rows", Effect::execution,
                  integer(
                      1, 1 << 20, [](auto& j) -> auto& { return j.limits.expert_rows; }),
                  "most rows of one expert call"});
  keys.push_back({"limits.kv_tokens", Effect::execution,
                  integer(
                      0, most_tokens, [](auto& j) -> auto& { return j.limits.kv_tokens; }),
                  "tokens that the KV cache holds, per attention rank; 0: from the model and the tokens in flight"});
  keys.push_back({"limits.prefix_cache", Effect::execution,
                  SwitchKey{[](Job& j) -> bool& { return j.limits.prefix_cache; }},
                  "requests that begin with the same tokens compute them once per attention rank; same bits either way"});
}

void add_placement(std::vector<JobKey>& keys) {
  using enum PlannerKind;
  keys.push_back({"placement.planner", Effect::execution,
                  choice(
                      std::vector{linear, round_robin, eplb, eplb_strict, speed_lpt, trace_lpt, gem}, [](auto& j) -> auto& { return j.placement.planner; }),
                  "which rank has which expert; linear: equal runs of ids; gem: GEM-style, reconstructed"});
  keys.push_back({"placement.file", Effect::execution, OptionalPathKey{[](Job& j) -> std::string& { return j.placement.file; }},
                  "a placement that moebius place wrote, in place of planning"});
  keys.push_back({"placement.trace", Effect::execution, OptionalPathKey{[](Job& j) -> std::string& { return j.placement.trace; }},
                  "results of a run with placement.record_trace, for planners that look at loads"});
  keys.push_back({"placement.trace_steps", Effect::execution,
                  integer(
                      1, 1 << 20, [](auto& j) -> auto& { return j.placement.trace_steps; }),
                  "first steps of the trace that planners look at"});
  keys.push_back({"placement.profile", Effect::execution, OptionalPathKey{[](Job& j) -> std::string& { return j.placement.profile; }},
                  "speeds of the expert ranks, from moebius profile; without: all alike, time in proportion to rows"});
  keys.push_back({"placement.nodes", Effect::execution,
                  integer(
                      1, most_ranks, [](auto& j) -> auto& { return j.placement.nodes; }),
                  "eplb: nodes among which whole expert groups are divided"});
  keys.push_back({"placement.record_trace", Effect::execution, SwitchKey{[](Job& j) -> bool& { return j.placement.record_trace; }},
                  "write rows per (step, layer, expert) into the results"});
  keys.push_back({"placement.emulated_slowdown", Effect::execution,
                  NumberListKey{1.0, 1000.0, [](Job& j) -> std::vector<double>& { return j.placement.emulated_slowdown; }},
                  "makes the expert calls of each expert rank last so many times as long; a rank without number: 1"});
}

void add_replicas(std::vector<JobKey>& keys) {
  using enum ReplicaRouterKind;
  keys.push_back({"replicas.ratio", Effect::execution,
                  number(
                      1.0, 1024.0, [](auto& j) -> auto& { return j.replicas.ratio; }),
                  "physical experts for each logical one; the most loaded ones of placement.trace get the copies"});
  keys.push_back({"replicas.router", Effect::execution,
                  choice(
                      std::vector{even, metro, fewest_first, exact}, [](auto& j) -> auto& { return j.replicas.router; }),
                  "which copy serves a row; even: all alike; the others read few weights: METRO, fewest copies first, the best"});
  keys.push_back({"replicas.knee_rows", Effect::execution,
                  number(
                      0.0, 1e9, [](auto& j) -> auto& { return j.replicas.knee_rows; }),
                  "rows per active expert above which router even is used; moebius profile measures it"});
}

void add_rebalance(std::vector<JobKey>& keys) {
  keys.push_back({"rebalance.interval_s", Effect::execution,
                  number(
                      0.0, 1e6, [](auto& j) -> auto& { return j.rebalance.interval_s; }),
                  "how often experts may move to other ranks while the job runs; 0: they stay"});
  keys.push_back({"rebalance.horizon_s", Effect::execution,
                  number(
                      0.0, 1e9, [](auto& j) -> auto& { return j.rebalance.horizon_s; }),
                  "experts move if what it saves in so many seconds is more than what moving costs"});
  keys.push_back({"rebalance.spare_places", Effect::execution,
                  integer(
                      1, 1024, [](auto& j) -> auto& { return j.rebalance.spare_places; }),
                  "experts that each expert rank has room for beyond its own; so many can come to it in one change"});
  keys.push_back({"rebalance.force", Effect::execution, SwitchKey{[](Job& j) -> bool& { return j.rebalance.force; }},
                  "for tests: experts move in every interval, at random, whatever it is worth"});
}

void add_capacity(std::vector<JobKey>& keys) {
  keys.push_back({"capacity.method", Effect::results,
                  choice(
                      std::vector{CapacityMethod::off, CapacityMethod::drop, CapacityMethod::expanded_drop, CapacityMethod::one_shot, CapacityMethod::reroute}, [](auto& j) -> auto& { return j.capacity.method; }),
                  "what happens to rows above an expert's capacity; all but off change outputs, by which rows share a micro-batch"});
  keys.push_back({"capacity.gamma", Effect::results,
                  number(
                      0.0, 1e6, [](auto& j) -> auto& { return j.capacity.gamma; }),
                  "capacity of an expert, in mean loads of an expert"});
  keys.push_back({"capacity.layer_gamma", Effect::results,
                  NumberListKey{0.0, 1e6, [](Job& j) -> std::vector<double>& { return j.capacity.layer_gamma; }},
                  "gamma of each layer; layers without number: capacity.gamma"});
  keys.push_back({"capacity.metric", Effect::results,
                  choice(
                      std::vector{CapacityMetric::score, CapacityMetric::order, CapacityMetric::reverse, CapacityMetric::random}, [](auto& j) -> auto& { return j.capacity.metric; }),
                  "which rows an expert keeps: the best-scoring, the first, the last, or any (run.seed)"});
  keys.push_back({"capacity.scope", Effect::results,
                  choice(
                      std::vector{CapacityScope::expert, CapacityScope::device}, [](auto& j) -> auto& { return j.capacity.scope; }),
                  "whether each expert has its capacity, or each expert rank that of its experts together"});
  keys.push_back({"capacity.phase", Effect::results,
                  choice(
                      std::vector{CapacityPhase::all, CapacityPhase::prompts, CapacityPhase::generation}, [](auto& j) -> auto& { return j.capacity.phase; }),
                  "which rows are counted and cut"});
  keys.push_back({"capacity.min_mean_load", Effect::results,
                  number(
                      0.0, 1e9, [](auto& j) -> auto& { return j.capacity.min_mean_load; }),
                  "no capacity in micro-batches with fewer rows per expert: small ones overflow though experts are chosen evenly"});
  keys.push_back({"capacity.rounds", Effect::results,
                  integer(
                      1, 1 << 20, [](auto& j) -> auto& { return j.capacity.rounds; }),
                  "reroute: how many other experts a dropped row tries"});
}

void add_plan_and_emulation(std::vector<JobKey>& keys) {
  using enum EmulatedModel;
  keys.push_back({"plan.profile", Effect::execution, OptionalPathKey{[](Job& j) -> std::string& { return j.plan.profile; }},
                  "costs of stages and links, from moebius profile; what layout.mode = auto, the solver of pipelines and predictions count with"});
  keys.push_back({"emulation.device", Effect::execution,
                  choice(
                      std::vector{EmulatedDevice::none, EmulatedDevice::h100, EmulatedDevice::a100, EmulatedDevice::custom, EmulatedDevice::measured}, [](auto& j) -> auto& { return j.emulation.device; }),
                  "slow motion: every stage lasts as long as on this device, times emulation.dilation; profile: the machine of plan.profile; none: real time"});
  keys.push_back({"emulation.model", Effect::execution,
                  choice(
                      std::vector{own, mixtral_8x7b, qwen3_30b_a3b, qwen3_235b_a22b, deepseek_v2_lite, deepseek_v2, deepseek_v3}, [](auto& j) -> auto& { return j.emulation.model; }),
                  "whose sizes the times are those of; the checkpoint has the same layers, experts and top-k, but may be small"});
  keys.push_back({"emulation.shape", Effect::execution,
                  choice(
                      std::vector{EmulatedShape::published, EmulatedShape::checkpoint}, [](auto& j) -> auto& { return j.emulation.shape; }),
                  "checkpoint: layers, experts and top-k may differ from those published, and outputs say so"});
  keys.push_back({"emulation.link", Effect::execution,
                  choice(
                      std::vector{EmulatedLink::nvlink, EmulatedLink::pcie, EmulatedLink::network, EmulatedLink::custom}, [](auto& j) -> auto& { return j.emulation.link; }),
                  "what messages between ranks go over, one at a time out of and into a rank"});
  const auto add = [&](std::string_view name, double max, auto access, std::string_view help) {
    keys.push_back({name, Effect::execution, number(0.0, max, access), help});
  };
  keys.push_back({"emulation.dilation", Effect::execution,
                  number(
                      1.0, 1e6, [](auto& j) -> auto& { return j.emulation.dilation; }),
                  "seconds here for a second of the device; so many that real work is at most 30 % of the time of any core"});
  add("emulation.efficiency", 1.0, [](auto& j) -> auto& { return j.emulation.efficiency; }, "share of flops and bytes_per_s that programs reach; 0: the preset's, 0.7");
  add("emulation.attention_efficiency", 1.0, [](auto& j) -> auto& { return j.emulation.attention_efficiency; },
      "the same for attention stages and the LM head; 0: as emulation.efficiency");
  add("emulation.flops", 1e18, [](auto& j) -> auto& { return j.emulation.flops; }, "of the device, per second; 0: the preset's");
  add("emulation.bytes_per_s", 1e16, [](auto& j) -> auto& { return j.emulation.bytes_per_s; }, "of the memory of the device; 0: the preset's");
  add("emulation.expert_overhead_us", 1e9, [](auto& j) -> auto& { return j.emulation.expert_overhead_us; },
      "time of an expert call beside its work (in lock-step: of all calls of a layer together); 0: the preset's");
  add("emulation.attention_overhead_us", 1e9, [](auto& j) -> auto& { return j.emulation.attention_overhead_us; },
      "time of an attention stage and of the LM head beside its work; 0: the preset's");
  keys.push_back({"emulation.row_tile", Effect::execution,
                  integer(
                      0, 1 << 16, [](auto& j) -> auto& { return j.emulation.row_tile; }),
                  "rows of a product are computed in whole tiles of so many; 0: the preset's"});
  add("emulation.link_bytes_per_s", 1e16, [](auto& j) -> auto& { return j.emulation.link_bytes_per_s; }, "of the link, in one direction; 0: the preset's");
  add("emulation.link_latency_us", 1e9, [](auto& j) -> auto& { return j.emulation.link_latency_us; }, "of a message on the link; 0: the preset's");
  keys.push_back({"emulation.tokens_per_row", Effect::execution,
                  number(
                      1.0, 1e6, [](auto& j) -> auto& { return j.emulation.tokens_per_row; }),
                  "tokens that a row stands for in the times of stages and messages, side by side and with the same experts: long texts in few rows"});
}

void add_run(std::vector<JobKey>& keys) {
  keys.push_back({"run.seed", Effect::results,
                  integer(
                      0, most_seed, [](auto& j) -> auto& { return j.run.seed; }),
                  "seed of the sampling where a request has none"});
  keys.push_back({"run.rows_per_block", Effect::execution,
                  integer(
                      1, 1 << 20, [](auto& j) -> auto& { return j.run.rows_per_block; }),
                  "result rows that are committed together"});
  keys.push_back({"run.strict", Effect::execution, SwitchKey{[](Job& j) -> bool& { return j.run.strict; }},
                  "exit code 3 when a row failed"});
  keys.push_back({"run.max_errors", Effect::execution,
                  integer(
                      -1, most_tokens, [](auto& j) -> auto& { return j.run.max_errors; }),
                  "the job ends early, with exit code 3, once more rows than this have failed; -1: never"});
  keys.push_back({"run.progress", Effect::execution,
                  choice(
                      std::vector{ProgressKind::automatic, ProgressKind::bar, ProgressKind::json, ProgressKind::off}, [](auto& j) -> auto& { return j.run.progress; }),
                  "progress on stderr; auto: a bar on a terminal, else lines of JSON"});
  keys.push_back({"run.timeline", Effect::execution, SwitchKey{[](Job& j) -> bool& { return j.run.timeline; }},
                  "record what each rank did when, for `moebius report`: up to 262144 intervals a rank"});
  keys.push_back({"run.walltime_s", Effect::execution,
                  number(
                      0.0, 1e9, [](auto& j) -> auto& { return j.run.walltime_s; }),
                  "the run stops by itself, with exit code 75, well before so much time has passed; 0: as Slurm says, or no limit"});
  keys.push_back({"run.grace_s", Effect::execution,
                  number(
                      0.0, 1e7, [](auto& j) -> auto& { return j.run.grace_s; }),
                  "after a first SIGUSR1 or SIGTERM, how long requests that were begun may take to finish"});
  keys.push_back({"run.watchdog_s", Effect::execution,
                  number(
                      0.001, 1e7, [](auto& j) -> auto& { return j.run.watchdog_s; }),
                  "a rank without progress for so long ends the job with exit code 71"});
  keys.push_back({"run.setup_limit_s", Effect::execution,
                  number(
                      0.0, 1e7, [](auto& j) -> auto& { return j.run.setup_limit_s; }),
                  "a rank that waits so long for the others while weights are loaded or results closed ends the job with 71; 0: no limit"});
}

std::vector<JobKey> make_table() {
  std::vector<JobKey> keys;
  add_paths_and_layout(keys);
  add_schedule(keys);
  add_pipeline(keys);
  add_limits(keys);
  add_placement(keys);
  add_replicas(keys);
  add_rebalance(keys);
  add_capacity(keys);
  add_plan_and_emulation(keys);
  add_run(keys);
  return keys;
}

template <class... Cases>
struct Overloaded : Cases... {
  using Cases::operator()...;
};

std::string in_quotes(const std::vector<std::string_view>& words) {
  std::vector<std::string> quoted;
  for (const auto word : words) quoted.push_back(quoted_toml(word));
  return fmt::format("{}", fmt::join(quoted, " or "));
}

}  // namespace

std::span<const JobKey> job_key_table() {
  static const auto table = make_table();
  return table;
}

std::string_view section_of(std::string_view key_name) { return key_name.substr(0, key_name.find('.')); }

std::string number_as_toml(double value) {
  auto text = fmt::format("{}", value);  // shortest form that reads back as the same number
  if (text.find_first_of(".en") == std::string::npos) text += ".0";
  return text;
}

std::string quoted_toml(std::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
      quoted += fmt::format("\\u{:04X}", static_cast<unsigned>(static_cast<unsigned char>(c)));
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

std::string value_as_toml(const JobKey& key, const Job& job) {
  // SwitchKey and PathKey have one accessor, for a Job that may be changed; a copy serves here.
  auto copy = job;
  return std::visit(Overloaded{[&](const IntegerKey& type) { return std::to_string(type.get(job)); },
                               [&](const NumberKey& type) { return number_as_toml(type.get(job)); },
                               [&](const SwitchKey& type) -> std::string { return type.of(copy) ? "true" : "false"; },
                               [&](const PathKey& type) { return quoted_toml(type.of(copy)); },
                               [&](const OptionalPathKey& type) { return quoted_toml(type.of(copy)); },
                               [&](const NumberListKey& type) {
                                 std::vector<std::string> numbers;
                                 for (const double number : type.of(copy)) numbers.push_back(number_as_toml(number));
                                 return fmt::format("[{}]", fmt::join(numbers, ", "));
                               },
                               [&](const ChoiceKey& type) { return quoted_toml(type.get(job)); }},
                    key.type);
}

std::string describe_allowed(const JobKey& key) {
  return std::visit(
      Overloaded{[](const IntegerKey& type) { return fmt::format("an integer from {} to {}", type.min, type.max); },
                 [](const NumberKey& type) { return fmt::format("a number from {} to {}", type.min, type.max); },
                 [](const SwitchKey&) -> std::string { return "true or false"; },
                 [](const PathKey&) -> std::string { return "a path in quotes"; },
                 [](const OptionalPathKey&) -> std::string { return "a path in quotes, or empty"; },
                 [](const NumberListKey& type) { return fmt::format("a list of numbers from {} to {}", type.min, type.max); },
                 [](const ChoiceKey& type) { return in_quotes(type.allowed); }},
      key.type);
}

}  // namespace moebius::io
