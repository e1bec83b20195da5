// SPDX-License-Identifier: Apache-2.0
#include "ranks/job_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/failure.hpp"
#include "io/job_file.hpp"
#include "io/model_files.hpp"
#include "io/request_file.hpp"
#include "policy/plan_routing.hpp"
#include "ranks/agreement.hpp"
#include "ranks/available_memory.hpp"
#include "ranks/expert_plan.hpp"
#include "ranks/input_shapes.hpp"
#include "ranks/job_costs.hpp"
#include "ranks/memory_needs.hpp"
#include "ranks/rank_engine.hpp"
#include "ranks/wire.hpp"

namespace moebius::ranks {
namespace {

constexpr double gib = 1024.0 * 1024.0 * 1024.0;

double device_memory_gib(EmulatedDevice device) {
  switch (device) {
    case EmulatedDevice::h100: return 80;
    case EmulatedDevice::a100: return 40;
    case EmulatedDevice::none:
    case EmulatedDevice::custom:
    case EmulatedDevice::measured: return 0;
  }
  return 0;
}

bool is_default(const ResolvedJob& resolved, std::string_view key) {
  const auto found = std::ranges::find(resolved.entries, key, &JobEntry::key);
  return found == resolved.entries.end() || found->origin == "default";
}

/// Config whose sizes count: of the checkpoint, or published; with the checkpoint's length where there is a checkpoint.
ModelConfig config_of(const Job& job) {
  if (!job.emulation.on() || job.emulation.model == EmulatedModel::own) return io::read_model_config(job.model.path);
  const bool here = std::filesystem::exists(std::filesystem::path(job.model.path) / "config.json");
  // The published shape may be planned with any checkpoint, or none; a run would refuse it.
  ModelConfig config = job.emulation.shape == EmulatedShape::published ? policy::published_model(job.emulation.model).config
                                                                      : policy::make_emulation(job, io::read_model_config(job.model.path))->times.model().config;
  constexpr int any_length = 1 << 15;  // what all of these models take
  config.max_position_embeddings = here ? io::read_model_config(job.model.path).max_position_embeddings : any_length;
  return config;
}

policy::PlanMemory memory_of(const Job& job, const ModelConfig& config, const policy::ModelSizes& sizes, int num_ranks, double memory_gib) {
  Job sized = job;
  const bool published = job.emulation.on() && job.emulation.model != EmulatedModel::own;
  if (published) sized.model.compute = ComputeType::bf16;
  policy::PlanMemory memory = plan_memory_of(sized, config, job.emulation.on() ? comm::FastPath::off : comm::fast_path_from_environment());
  if (published) {
    const double factor = sizes.weight_bytes / static_cast<double>(element_bytes(ComputeType::bf16));
    const auto scaled = [&](std::int64_t bytes) { return static_cast<std::int64_t>(factor * static_cast<double>(bytes)); };
    memory.expert_bytes = scaled(memory.expert_bytes);
    for (policy::MemoryNeed& need : memory.of_attention) need.bytes = need.kind == "attention weights" ? scaled(need.bytes) : need.bytes;
  }
  if (memory_gib > 0 || job.emulation.on()) {
    const double each = memory_gib > 0 ? memory_gib : device_memory_gib(job.emulation.device);
    memory.rank_limit_bytes = static_cast<std::int64_t>(each * gib);
    memory.limit = memory_gib > 0 ? "--memory-gib" : to_string(job.emulation.device);
    return memory;
  }
  const policy::NodeMemory node = available_memory(1.0);
  memory.node_limit_bytes = node.available_bytes;
  memory.limit = fmt::format("this node ({}; {} ranks on it)", node.limit, num_ranks);
  return memory;
}

std::vector<policy::RequestShape> work_of(const Job& job, const PlanOptions& options, int max_positions) {
  const io::RequestFile file = io::RequestFile::open(job.input.path);
  const auto lines = file.index();
  if (options.prompt_tokens > 0) {
    return {{.prompt_tokens = options.prompt_tokens, .scored_tokens = options.new_tokens > 0 ? 0 : options.prompt_tokens, .new_tokens = options.new_tokens,
             .count = static_cast<double>(lines.size())}};
  }
  auto shapes = shapes_of(file, lines, max_positions);
  if (shapes.empty()) {
    throw Failure{ExitCode::unreadable_input, fmt::format("{} cannot be planned (no line is a request) look at its rows with moebius run", job.input.path)};
  }
  return shapes;
}

/// What a job fixes by naming it, or by what cannot go together.
std::vector<policy::PlanMode> allowed_modes(const ResolvedJob& resolved) {
  using enum policy::PlanMode;
  const Job& job = resolved.job;
  const bool one_place = job.placement.file.empty() && job.replicas.ratio <= 1 && job.rebalance.interval_s <= 0;
  const bool any_execution = is_default(resolved, "schedule.execution");
  const bool open_layout = job.layout.mode == LayoutMode::automatic || is_default(resolved, "layout.mode");
  const bool split_only = job.layout.attention_ranks > 0 || job.layout.expert_ranks > 0;
  std::vector<policy::PlanMode> modes;
  for (const policy::PlanMode mode : {replicate, lockstep, async_colocated, async_split, pingpong, findep}) {
    const Execution execution = mode == lockstep ? Execution::lockstep : policy::is_pipeline(mode) ? Execution::pipeline : Execution::async;
    const bool layout = open_layout                              ? !split_only || policy::is_split(mode)
                        : job.layout.mode == LayoutMode::split   ? policy::is_split(mode)
                        : job.layout.mode == LayoutMode::replicate ? mode == replicate
                                                                   : mode == lockstep || mode == async_colocated;
    const bool moves = job.rebalance.interval_s <= 0 || mode == async_colocated || mode == async_split;
    if (layout && moves && (any_execution || execution == job.schedule.execution) && (one_place || mode != replicate)) modes.push_back(mode);
  }
  return modes;
}

std::optional<policy::PlannedMode> best_allowed(const JobPlan& plan) {
  const auto best = [&](bool bounds) {
    std::optional<policy::PlannedMode> found;
    for (const policy::PlannedMode& mode : plan.modes) {
      if (!mode.fits || policy::is_bound(mode.mode) != bounds || std::ranges::find(plan.allowed, mode.mode) == plan.allowed.end()) continue;
      if (!found || mode.tokens_per_s > found->tokens_per_s) found = mode;
    }
    return found;
  };
  const auto predicted = best(false);
  return predicted ? predicted : best(true);
}

void check_ranks(const Job& job, int num_ranks) {
  const auto refuse = [&](const char* key, int value) {
    throw Failure{ExitCode::bad_usage, fmt::format("{} = {} cannot be planned (the plan is for {} ranks, and each role needs one) lower it, or raise --ranks", key, value,
                                                   num_ranks)};
  };
  if (job.layout.attention_ranks >= num_ranks && job.layout.mode != LayoutMode::colocated && num_ranks > 1) refuse("layout.attention_ranks", job.layout.attention_ranks);
  if (job.layout.expert_ranks >= num_ranks && job.layout.mode != LayoutMode::colocated && num_ranks > 1) refuse("layout.expert_ranks", job.layout.expert_ranks);
}

int fixed_attention_ranks(const Job& job, int num_ranks) {
  if (job.layout.mode == LayoutMode::colocated || num_ranks < 2) return 0;
  return job.layout.attention_ranks > 0 ? job.layout.attention_ranks : job.layout.expert_ranks > 0 ? num_ranks - job.layout.expert_ranks : 0;
}

}  // namespace

policy::PlanLimits plan_limits(const Job& job, const Job::Limits& limits, const Job::Limits& pipelined) {
  const comm::RingOptions ring = ring_options({}, job, 1, Rows::in_place);
  return {.micro_batch_tokens = static_cast<double>(limits.micro_batch_tokens), .pipeline_tokens = static_cast<double>(pipelined.micro_batch_tokens),
          .expert_rows = static_cast<double>(limits.expert_rows), .grouped_calls = job.schedule.group_expert_calls,
          .message_pairs = std::floor(static_cast<double>(ring.slot_bytes) / sizeof(RowPair))};
}

namespace {

/// The settings that a mode asks for.
std::vector<std::string> settings_of(const ResolvedJob& resolved, const policy::PlannedMode& best, int num_ranks) {
  using enum policy::PlanMode;
  std::vector<std::string> settings{fmt::format("layout.mode={}", num_ranks == 1           ? to_string(LayoutMode::colocated)
                                                                 : best.mode == replicate  ? to_string(LayoutMode::replicate)
                                                                 : is_split(best.mode) ? to_string(LayoutMode::split)
                                                                                       : to_string(LayoutMode::colocated))};
  if (is_split(best.mode)) {
    settings.push_back(fmt::format("layout.attention_ranks={}", best.counts.attention));
    settings.push_back(fmt::format("layout.expert_ranks={}", best.counts.experts));
  }
  const Execution execution = best.mode == lockstep ? Execution::lockstep : is_pipeline(best.mode) ? Execution::pipeline : Execution::async;
  if (is_default(resolved, "schedule.execution")) settings.push_back(fmt::format("schedule.execution={}", to_string(execution)));
  if (best.mode == pingpong && is_default(resolved, "pipeline.order")) settings.push_back("pipeline.order=fused");
  if (best.mode == pingpong && is_default(resolved, "pipeline.r2")) settings.push_back("pipeline.r2=1");
  return settings;
}

ResolvedJob with_settings(const ResolvedJob& resolved, const std::vector<std::string>& settings) {
  ResolvedJob changed = io::read_job_text(io::to_toml(resolved), "the job", settings);
  for (std::size_t i = 0; i < changed.entries.size(); ++i) {
    const bool set = std::ranges::any_of(settings, [&](const std::string& setting) { return setting.starts_with(changed.entries[i].key + "="); });
    changed.entries[i].origin = set ? "plan" : resolved.entries[i].origin;
  }
  return changed;
}

}  // namespace

/// Rows that the routing which the job names chose of each expert; the same of each where it names none. // [layers][experts]
static std::vector<std::vector<double>> loads_of(const Job& job, const ModelConfig& config) {
  if (job.placement.trace.empty()) {
    std::vector<std::vector<double>> loads;
    for (const auto moe : config.moe_layer) loads.emplace_back(static_cast<std::size_t>(config.num_experts), moe != 0 ? 1.0 : 0.0);
    return loads;
  }
  const io::RoutingTrace trace = read_trace(job.placement.trace, config);
  std::vector<std::vector<double>> loads(static_cast<std::size_t>(trace.num_layers), std::vector<double>(static_cast<std::size_t>(trace.num_experts), 0.0));
  std::size_t cell = 0;
  for (int step = 0; step < trace.num_steps; ++step) {
    for (auto& layer : loads) {
      for (double& rows : layer) rows += trace.rows[cell++];
    }
  }
  return loads;
}

static bool is_cut(CapacityPhase phase, policy::WorkPhase::Kind kind) {
  return phase == CapacityPhase::all || (phase == CapacityPhase::prompts) == (kind == policy::WorkPhase::Kind::prompts);
}

/// How unevenly that loads expert ranks, through the capacity of the job where it has one.
static std::function<policy::BusiestRank(int, const policy::WorkPhase&)> imbalance_of(const Job& job, const ModelConfig& config, int num_ranks, double micro_batch_tokens) {
  if (job.placement.trace.empty() && job.capacity.method == CapacityMethod::off) return {};
  return [loads = loads_of(job, config), given = job.capacity, k = config.experts_per_token, num_ranks, micro_batch_tokens](int expert_ranks, const policy::WorkPhase& phase) {
    Job::Capacity capacity = given;
    if (!is_cut(capacity.phase, phase.kind)) capacity.method = CapacityMethod::off;
    const double of_rank = (phase.kind == policy::WorkPhase::Kind::generation ? phase.sequences : phase.tokens()) / num_ranks;
    return policy::linear_imbalance(loads, expert_ranks, capacity, {.tokens = std::min({micro_batch_tokens, phase.most_batch_tokens, of_rank}), .experts_per_token = k});
  };
}

PlanQuestionParts question_of(const Job& job, const ModelConfig& config, int num_ranks, std::span<const policy::RequestShape> shapes) {
  const JobCosts costs = costs_of(job, config, num_ranks);
  const policy::StageTimes& times = costs.times;
  Job unpiped = job;  // a pipeline has micro-batches of its own
  if (unpiped.schedule.execution == Execution::pipeline) unpiped.schedule.execution = Execution::async;
  const Job::Limits limits = resolve_limits(unpiped, config);
  Job piped = job;
  piped.schedule.execution = Execution::pipeline;
  policy::PlanLimits cuts = plan_limits(job, limits, resolve_limits(piped, config));
  cuts.imbalance = imbalance_of(job, config, num_ranks, cuts.micro_batch_tokens);
  const auto& slowdown = job.placement.emulated_slowdown;
  return {.question = {.times = times,
                       .link = costs.link,
                       .num_ranks = num_ranks,
                       .phases = policy::phases_of(shapes, limits),
                       .limits = std::move(cuts),
                       .expert_slowdown = slowdown.empty() ? 1.0 : std::max(1.0, std::ranges::max(slowdown)),
                       .attention_ranks = fixed_attention_ranks(job, num_ranks),
                       .r1 = job.pipeline.r1,
                       .r2 = job.pipeline.r2,
                       .order = job.pipeline.order == PipelineOrder::automatic ? std::nullopt : std::optional(job.pipeline.order)},
          .devices = fmt::format("{}, link {} ({:.3g} us, {:.3g} GB/s)", times.device().name, costs.link.name, 1e6 * costs.link.latency_s, 1e-9 * costs.link.bytes_per_s)};
}

JobPlan plan_job(const ResolvedJob& asked, int num_ranks, const PlanOptions& options) {
  const ResolvedJob resolved = with_measured_costs(asked);
  const Job& job = resolved.job;
  check_ranks(job, num_ranks);
  const ModelConfig config = config_of(job);
  const auto shapes = work_of(job, options, config.max_position_embeddings);
  PlanQuestionParts parts = question_of(job, config, num_ranks, shapes);
  JobPlan plan{.question = std::move(parts.question), .devices = std::move(parts.devices)};
  plan.question.memory = memory_of(job, config, plan.question.times.model(), num_ranks, options.memory_gib);
  plan.modes = policy::plan_modes(plan.question);
  plan.allowed = allowed_modes(resolved);
  plan.best = best_allowed(plan);
  plan.overall = policy::best_mode(plan.modes);
  double requests = 0, tokens = 0;
  for (const policy::RequestShape& shape : shapes) requests += shape.count;
  for (const policy::WorkPhase& phase : plan.question.phases) tokens += phase.tokens();
  plan.work = fmt::format("{:.0f} sequences, {:.4g} tokens through the layers", requests, tokens);
  return plan;
}

ResolvedJob follow_plan(const ResolvedJob& resolved, int num_ranks, std::string& advice) {
  if (resolved.job.layout.mode != LayoutMode::automatic) return resolved;
  const JobPlan plan = plan_job(resolved, num_ranks, {});
  if (plan.allowed.empty()) {
    throw Failure{ExitCode::bad_usage, "layout.mode = \"auto\" finds no way to run the job (its other keys allow none) name a layout, or leave out schedule.execution, "
                                       "placement.file, replicas and rebalance"};
  }
  if (!plan.best) throw Failure{ExitCode::does_not_fit, policy::refusal(plan.question, plan.modes)};
  advice = policy::recommendation(plan.question, plan.modes, *plan.best);
  return with_settings(resolved, settings_of(resolved, *plan.best, num_ranks));
}

ResolvedJob follow_plan_together(comm::Session& session, const ResolvedJob& resolved) {
  if (resolved.job.layout.mode != LayoutMode::automatic) return resolved;
  std::vector<std::byte> bytes;
  together(session, [&] {
    if (session.rank() != RankId(0)) return;
    std::string advice;
    const ResolvedJob followed = follow_plan(resolved, session.num_ranks(), advice);
    fmt::print(stderr, "plan: {}\n", advice);
    std::string text;
    for (const JobEntry& entry : followed.entries) text += entry.origin == "plan" ? fmt::format("{}={}\n", entry.key, entry.value) : "";
    bytes.resize(text.size());
    std::memcpy(bytes.data(), text.data(), text.size());
  });
  session.broadcast(bytes);
  std::vector<std::string> settings(1);
  for (const std::byte byte : bytes) {
    if (static_cast<char>(byte) == '\n') settings.emplace_back();
    else settings.back() += static_cast<char>(byte);
  }
  settings.pop_back();  // behind the last line break
  return with_settings(resolved, settings);
}

}  // namespace moebius::ranks
