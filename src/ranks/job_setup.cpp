// SPDX-License-Identifier: Apache-2.0
#include "ranks/job_setup.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <numeric>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "base/hash.hpp"
#include "base/random.hpp"
#include "io/input_file.hpp"
#include "io/model_files.hpp"
#include "policy/device_model.hpp"
#include "policy/shard_split.hpp"
#include "ranks/agreement.hpp"
#include "ranks/expert_plan.hpp"
#include "ranks/job_facts.hpp"
#include "ranks/memory_needs.hpp"
#include "ranks/pipeline_turns.hpp"

namespace moebius::ranks {
namespace {

constexpr std::int64_t max_tokenizer_bytes = std::int64_t{1} << 30;

using Lines = std::vector<io::RequestFile::Line>;

/// Keys that put lines into an order that depends on the seed alone.
std::vector<double> random_keys(std::uint64_t seed, const Lines& lines) {
  std::vector<double> keys;
  for (const auto& line : lines) keys.push_back(philox_uniform(seed, static_cast<std::uint64_t>(line.line), 0));
  return keys;
}

void keep_sample(Lines& lines, std::int64_t num_requests, std::uint64_t seed) {
  const std::vector<double> keys = random_keys(seed, lines);
  std::vector<std::size_t> order(lines.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::sort(order, {}, [&](std::size_t i) { return keys[i]; });
  order.resize(std::min(order.size(), static_cast<std::size_t>(num_requests)));
  std::ranges::sort(order);
  Lines kept;
  for (const std::size_t i : order) kept.push_back(lines[i]);
  lines = std::move(kept);
}

void keep_shard(Lines& lines, const Shard& shard) {
  std::vector<std::int64_t> bytes;
  for (const auto& line : lines) bytes.push_back(line.num_bytes);
  const policy::RequestRange range = policy::shard_range(bytes, shard);
  lines = Lines(lines.begin() + static_cast<std::ptrdiff_t>(range.first), lines.begin() + static_cast<std::ptrdiff_t>(range.last));
}

/// Rank 0, an attention rank in every layout, has looked through the input once; the others get its index.
void share_lines(comm::Communicator& attention, Lines& lines) {
  static_assert(std::is_trivially_copyable_v<io::RequestFile::Line>);
  const auto view = std::as_bytes(std::span(lines));
  std::vector<std::byte> bytes(view.begin(), view.end());
  attention.broadcast(bytes);
  lines.resize(bytes.size() / sizeof(io::RequestFile::Line));
  if (!bytes.empty()) std::memcpy(lines.data(), bytes.data(), bytes.size());
}

/// Lines that begin alike go together where ranks can make use of it.
std::unique_ptr<policy::ClaimPlan> plan_claims(const Lines& lines, int num_claimants, const Job& job, const RunOptions& options) {
  std::vector<std::int64_t> weights;
  std::vector<PrefixKeys> prefixes;
  if (options.shuffle_seed) {
    // The plan orders by weight: random weights give a random order.
    for (const double key : random_keys(*options.shuffle_seed + 1, lines)) weights.push_back(static_cast<std::int64_t>(key * 1e6));
  } else {
    for (const auto& line : lines) weights.push_back(line.num_bytes);
    if (job.limits.prefix_cache) std::ranges::transform(lines, std::back_inserter(prefixes), &io::RequestFile::Line::prefix);
  }
  return std::make_unique<policy::ClaimPlan>(policy::ClaimLines{weights, prefixes}, num_claimants);
}

/// Where every rank has a whole model nothing is placed and nothing goes to and fro.
void check_replicated(const Job& job) {
  const auto refuse = [](const std::string& key, const char* why) {
    throw Failure{ExitCode::bad_usage, fmt::format("{} cannot be used with layout.mode = \"replicate\" ({}) leave it out, or use another layout", key, why)};
  };
  if (job.schedule.execution == Execution::lockstep) refuse("schedule.execution = \"lockstep\"", "ranks that need nothing of each other have no common steps");
  if (!job.placement.file.empty()) refuse("placement.file", "every rank has all experts");
  if (job.replicas.ratio > 1) refuse("replicas.ratio", "every rank has all experts once");
  if (job.rebalance.interval_s > 0) refuse("rebalance.interval_s", "no expert can move");
}

/// Rank 0 plans alone: it reads the files once, and no other processor can round another way.
void share_placement(comm::Session& session, const Job& job, JobSetup& setup) {
  const std::vector<int> num_experts = experts_per_layer(setup.config);
  std::vector<std::byte> bytes;
  together(session, [&] {
    if (session.rank() != RankId(0)) return;
    bytes = to_bytes(plan_experts(job, setup.config, setup.layout));
  });
  session.broadcast(bytes);
  setup.placement = std::make_unique<policy::TablePlacement>(maps_from_bytes(bytes), num_experts, setup.layout.expert_ranks);
  setup.group_placement = setup.layout.replicated
                              ? std::make_unique<policy::TablePlacement>(policy::whole_models(num_experts, 1), num_experts, setup.group.expert_ranks)
                              : std::make_unique<policy::TablePlacement>(*setup.placement);
}

/// Without tokenizer.json there is an empty tokenizer: requests of token ids do without, others get a row status.
void load_tokenizer(JobSetup& setup, const comm::Session& session, const std::filesystem::path& model_dir) {
  std::error_code ignored;  // what cannot be looked at is an error when it is read
  if (!std::filesystem::exists(model_dir / "tokenizer.json", ignored) && !ignored) {
    setup.tokenizer = std::make_unique<model::Tokenizer>(TokenizerSpec{.byte_level = false});
    return;
  }
  if (session.rank() == RankId(0)) {
    setup.tokenizer_hash = xxh3_64(io::read_text_file(model_dir / "tokenizer.json", max_tokenizer_bytes));
  }
  setup.tokenizer = std::make_unique<model::Tokenizer>(io::read_tokenizer(model_dir));
}

/// Rank 0 alone: what an earlier run left in the result folder, and the lines that are to be run.
void look_at_output(JobSetup& setup, int num_ranks, const ResolvedJob& resolved, const RunOptions& options) {
  io::FolderRequest request{.directory = resolved.job.output.path,
                            .on_existing = options.on_existing,
                            .facts = job_facts(resolved, *setup.checkpoint, *setup.requests, options),
                            .num_ranks = num_ranks};
  for (const auto& line : setup.lines) request.lines.push_back(line.line);
  setup.output = std::make_unique<io::OutputFolder>(request);
  std::erase_if(setup.lines, [&](const auto& line) { return setup.output->committed().contains(line.line); });
}

/// Moving experts needs ranks that go on for themselves, and outputs that do not hang on where experts are.
void check_rebalance(const Job& job) {
  if (job.rebalance.interval_s <= 0) return;
  const auto refuse = [](const char* key, const char* why) {
    throw Failure{ExitCode::bad_usage, fmt::format("rebalance.interval_s cannot be used with {} ({}) set it to 0, or change the other key", key, why)};
  };
  if (job.schedule.execution == Execution::lockstep) refuse("schedule.execution = lockstep", "experts move in asynchronous execution only");
  if (job.capacity.method != CapacityMethod::off) refuse("capacity.method", "a capacity looks at the placement that the job began with");
}

/// What slow motion cannot be done with is said before anything is read or written.
void check_emulation(comm::Session& session, const Job& job, const ModelConfig& config) {
  if (!policy::make_emulation(job, config)) return;
  if (session.memory_node().num_ranks() != session.num_ranks()) {
    throw Failure{ExitCode::bad_usage, fmt::format("emulation.device is {} (slow motion needs one clock for all ranks, and they are on several machines) run "
                                                   "all ranks on one machine",
                                                   to_string(job.emulation.device))};
  }
}

}  // namespace

Roles roles_of(const policy::RankLayout& layout, RankId rank) {
  const bool attention = std::ranges::find(layout.attention_ranks, rank) != layout.attention_ranks.end();
  const bool expert = std::ranges::find(layout.expert_ranks, rank) != layout.expert_ranks.end();
  MOEBIUS_ENSURE(attention || expert);
  return attention && expert ? Roles::both : attention ? Roles::attention : Roles::expert;
}

JobSetup set_up_job(comm::Session& session, const ResolvedJob& resolved, const RunOptions& options) {
  JobSetup setup;
  const Job& job = resolved.job;
  session.limit_waiting(job.run.setup_limit_s);
  const std::filesystem::path model_dir = job.model.path;
  // Rank 0 looks at everything first: what is wrong for all is said once.
  together(session, [&] {
    check_rebalance(job);
    setup.layout = policy::decide_layout(session.num_ranks(), job.layout.mode, job.layout.attention_ranks,
                                         job.layout.expert_ranks);
    check_pipeline(job, setup.layout);
    if (setup.layout.replicated) check_replicated(job);
    setup.group = policy::exchange_group(setup.layout, session.rank());
    setup.roles = roles_of(setup.layout, session.rank());
  });
  together(session, [&] {
    if (session.rank() != RankId(0)) return;
    setup.requests = io::RequestFile::open(job.input.path);
    setup.lines = setup.requests->index();
    if (options.shard) keep_shard(setup.lines, *options.shard);
    if (options.max_requests > 0) keep_sample(setup.lines, options.max_requests, options.shuffle_seed.value_or(0));
  });
  together(session, [&] {
    setup.config = io::read_model_config(model_dir);
    setup.checkpoint = io::Checkpoint::open(model_dir);
    setup.tensors = setup.checkpoint->lookup();
    check_emulation(session, job, setup.config);
    if (!has_attention(setup.roles)) return;
    load_tokenizer(setup, session, model_dir);
    ChatTemplateSpec chat_template = io::read_chat_template(model_dir);
    if (!chat_template.text.empty()) setup.chat_template_hash = xxh3_64(chat_template.text);
    setup.chat_template = std::make_unique<model::ChatTemplate>(std::move(chat_template));
    if (session.rank() != RankId(0)) setup.requests = io::RequestFile::open(job.input.path);
  });
  together(session, [&] {
    if (session.rank() == RankId(0)) look_at_output(setup, session.num_ranks(), resolved, options);
  });
  const bool finished = setup.output != nullptr && setup.output->state() == io::FolderState::finished;
  setup.finished = session.agree_max(finished ? 1 : 0) != 0;
  if (setup.finished) return setup;
  setup.communicators = session.split(setup.roles);
  if (has_attention(setup.roles)) {
    share_lines(*setup.communicators.attention, setup.lines);
    setup.claims = plan_claims(setup.lines, static_cast<int>(setup.layout.attention_ranks.size()), job, options);
  }
  share_placement(session, job, setup);
  const comm::FastPath sharing = comm::fast_path_from_environment();
  const auto available = gather_available_memory(session);
  together(session, [&] {
    if (session.rank() != RankId(0)) return;
    check_memory(memory_needs(job, setup.config, setup.layout, *setup.placement, sharing,
                              [&](RankId rank) { return session.node_idx_of(rank); }),
                 available);
    setup.prediction = predict_run(job, setup.layout, *setup.requests, setup.lines, setup.config);
  });
  return setup;
}

}  // namespace moebius::ranks
