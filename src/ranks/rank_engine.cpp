// SPDX-License-Identifier: Apache-2.0
#include "ranks/rank_engine.hpp"

#include <algorithm>

#include "base/check.hpp"
#include "ranks/expert_plan.hpp"
#include "ranks/job_costs.hpp"
#include "ranks/job_plan.hpp"

namespace moebius::ranks {
namespace {

/// Bytes of a ring slot: large enough that a message's cost is its bytes. In place a message is 12 bytes a pair, and each
/// expert call sends one: many small slots.
constexpr std::size_t slot_bytes_of_rows = 64 * 1024, slot_bytes_in_place = 16 * 1024;
/// Of one ring: 32 or 128 slots. With rows that travel a rank of two spent 6 % of the tiny model's scoring job waiting for
/// credit with 8 slots and 2 % with 32; in place and split 23 % with 32 and none with 128.
constexpr std::size_t max_ring_bytes = std::size_t{2} << 20;
/// Of all rings into one rank.
constexpr std::size_t max_bytes_into_a_rank = std::size_t{16} << 20;
/// Before all other limits.
constexpr std::size_t min_ring_slots = 8;
/// KV positions per token of the budget where the user gave no kv_tokens: sequences that generate hold
/// KV for all their positions but only one token of the budget.
constexpr std::int64_t kv_tokens_per_budget_token = 16;

bool groups_calls(const Job& job) { return job.schedule.execution == Execution::async && job.schedule.group_expert_calls; }

std::vector<int> layers_before(const ModelConfig& config) {
  std::vector<int> moe;
  for (int layer = 0; layer < config.num_layers; ++layer) {
    if (config.is_moe(LayerId(layer))) moe.push_back(layer);
  }
  std::vector<int> before(static_cast<std::size_t>(config.num_layers), -1);
  for (std::size_t i = 0; moe.size() > 1 && i < moe.size(); ++i) before[static_cast<std::size_t>(moe[i])] = moe[(i + moe.size() - 1) % moe.size()];
  return before;
}

}  // namespace

Job::Limits resolve_limits(const Job& job, const ModelConfig& config) {
  Job::Limits limits = job.limits;
  limits.segment_tokens = std::min(limits.segment_tokens, limits.max_tokens_in_flight);
  limits.micro_batch_tokens = std::max(limits.micro_batch_tokens, limits.segment_tokens);
  if (job.schedule.execution == Execution::pipeline) {
    // Micro-batches are cut between segments, so that one may exceed its share by less than a segment.
    const int r1 = micro_batches_per_mini_batch(job);
    const int share = (limits.max_tokens_in_flight + r1 - 1) / r1 + limits.segment_tokens;
    limits.micro_batch_tokens = std::max(limits.micro_batch_tokens, std::min(share, limits.max_tokens_in_flight));
  }
  if (limits.kv_tokens == 0) {
    // One sequence of the model's full length must fit, with a block for the border of a branch.
    limits.kv_tokens = std::max<std::int64_t>(config.max_position_embeddings + 2 * model::KvCache::block_tokens,
                                              kv_tokens_per_budget_token * limits.max_tokens_in_flight);
  }
  return limits;
}

comm::RingOptions ring_options(const ModelConfig& config, const Job& job, std::size_t num_sources, Rows rows) {
  const ComputeType compute = job.model.compute;
  const std::size_t stamp_bytes = job.emulation.on() ? DelayedTransport::stamp_bytes : 0;
  const auto hidden = static_cast<std::size_t>(config.hidden_size);
  const auto k = static_cast<std::size_t>(config.experts_per_token);
  const std::size_t one_row = std::max(dispatch_layout(1, k, hidden * element_bytes(compute)).total_bytes,
                                       outputs_layout(1, hidden * sizeof(float)).total_bytes);
  const std::size_t slot_bytes = round_up_64(std::max(rows == Rows::travel ? slot_bytes_of_rows : slot_bytes_in_place, one_row + stamp_bytes));
  const std::size_t bytes = std::min(max_ring_bytes, max_bytes_into_a_rank / std::max<std::size_t>(num_sources, 1));
  return {.slot_bytes = slot_bytes, .num_slots = static_cast<int>(std::max(bytes / slot_bytes, min_ring_slots))};
}

std::size_t exchange_bytes(const Job& job, const ModelConfig& config, Roles roles) {
  if (!has_attention(roles)) return 0;
  return model::RowExchange::bytes(config, job.model.compute, resolve_limits(job, config).max_tokens_in_flight);
}

bool rebalances(const Job& job, std::size_t num_expert_ranks) { return job.rebalance.interval_s > 0 && num_expert_ranks > 1; }

std::size_t live_bytes(const Job& job, const ModelConfig& config, const policy::TablePlacement& placement, std::span<const RankId> expert_ranks,
                       RankId rank) {
  const BoardLayout layout(config, expert_ranks.size(), job.rebalance.spare_places);
  if (std::ranges::find(expert_ranks, rank) == expert_ranks.end()) return layout.parts;
  const std::size_t num_parts = placement.hosted(rank).size() + static_cast<std::size_t>(job.rebalance.spare_places);
  return layout.parts + num_parts * model::ExpertStack::expert_bytes(config, job.model.compute);
}

RankEngine::RankEngine(Parts parts, PhaseClock& clock, EventLoop::Beat beat)
    : parts_(std::move(parts)),
      row_config_(config_of_rows(parts_.job, parts_.config, parts_.placement, parts_.attention_ranks, parts_.expert_ranks)),
      limits_(resolve_limits(parts_.job, parts_.config)),
      stages_(parts_.roles),
      emulation_(policy::make_emulation(parts_.job, parts_.config)),
      pace_(make_pace()),
      delayed_(delay_messages()),
      transport_(delayed_ == nullptr ? parts_.transport : *delayed_),
      outbox_(transport_) {
  if (parts_.all_to_all != nullptr) collector_ = std::make_unique<PairCollector>(parts_.transport.num_ranks());
  if (has_experts(parts_.roles)) make_experts();
  std::vector<int> hosted_per_layer;
  for (int layer = 0; layer < parts_.config.num_layers; ++layer) {
    hosted_per_layer.push_back(expert_stack_ == nullptr ? 0 : expert_stack_->num_places(LayerId(layer)));
  }
  table_ = std::make_unique<policy::QueueTable>(stages_.queues_per_stage(hosted_per_layer));
  Job::Schedule schedule = parts_.job.schedule;
  if (emulation_) schedule.aging_ms *= emulation_->dilation;  // so that a schedule is that of the device
  scheduler_ = policy::make_scheduler(schedule);
  if (has_attention(parts_.roles)) make_attention(std::move(parts_.claim), std::move(parts_.sink));
  if (has_experts(parts_.roles)) make_expert_side();
  if (parts_.peers != nullptr) make_live();
  make_loop(std::move(hosted_per_layer), clock, std::move(beat));
}

RankEngine::~RankEngine() = default;

StagePace RankEngine::make_pace() const {
  const auto found = std::ranges::find(parts_.expert_ranks, parts_.transport.rank());
  // Where ranks have both roles, all have experts.
  const int idx = parts_.roles == Roles::both ? parts_.transport.rank().value : static_cast<int>(found - parts_.expert_ranks.begin());
  const double slowdown = has_experts(parts_.roles) ? slowdown_of(parts_.job, idx) : 1.0;
  if (!emulation_) return StagePace(slowdown);
  return {emulation_->times, emulation_->dilation, slowdown,
          parts_.all_to_all != nullptr || groups_calls(parts_.job) ? StagePace::ExpertStage::layer : StagePace::ExpertStage::call};
}

std::unique_ptr<DelayedTransport> RankEngine::delay_messages() {
  if (!emulation_ || parts_.all_to_all != nullptr) return nullptr;
  return std::make_unique<DelayedTransport>(parts_.transport, pace_, arrivals_, emulation_->link, emulation_->dilation, block_bytes(emulation_->times));
}

bool RankEngine::has_replicas() const {
  for (int layer = 0; layer < parts_.config.num_layers; ++layer) {
    for (int expert = 0; parts_.config.is_moe(LayerId(layer)) && expert < parts_.config.num_experts; ++expert) {
      if (parts_.placement.replicas(LayerId(layer), ExpertId(expert)).size() > 1) return true;
    }
  }
  return false;
}

void RankEngine::run() {
  if (lockstep_ != nullptr) lockstep_->run();
  else loop_->run();
}

void RankEngine::make_loop(std::vector<int> hosted_per_layer, PhaseClock& clock, EventLoop::Beat beat) {
  if (parts_.all_to_all != nullptr) {
    if (emulation_) exchange_delay_ = std::make_unique<ExchangeDelay>(*parts_.all_to_all, parts_.transport.rank().idx(), pace_, arrivals_, *emulation_);
    const model::RowExchange* own_rows = states_ == nullptr ? nullptr : &states_->exchange();
    lockstep_ = std::make_unique<LockstepLoop>(LockstepLoop::Parts{.all = *parts_.all_to_all,
                                                                   .transport = parts_.transport,
                                                                   .pairs = *collector_,
                                                                   .config = parts_.config,
                                                                   .compute = parts_.job.model.compute,
                                                                   .clock = clock,
                                                                   .pace = pace_,
                                                                   .delay = exchange_delay_.get(),
                                                                   .attention = attention_.get(),
                                                                   .experts = expert_side_.get(),
                                                                   .own_rows = own_rows,
                                                                   .hosted_per_layer = std::move(hosted_per_layer),
                                                                   .has_replicas = has_replicas(),
                                                                   .counts = parts_.transport.rank() == parts_.attention_ranks.front()},
                                               std::move(beat));
    return;
  }
  if (parts_.job.schedule.execution == Execution::pipeline) {
    MOEBIUS_EXPECT(parts_.roles != Roles::both);
    if (attention_ != nullptr && asks_solver(parts_.job.pipeline)) make_solver();
    pipeline_ = std::make_unique<PipelineTurns>(PipelineTurns::Parts{.attention = attention_.get(),
                                                                     .experts = expert_side_.get(),
                                                                     .num_layers = parts_.config.num_layers,
                                                                     .pipeline = parts_.job.pipeline,
                                                                     .solver = solver_.get(),
                                                                     .config = parts_.config});
  }
  loop_ = std::make_unique<EventLoop>(
      EventLoop::Parts{.transport = transport_,
                       .outbox = outbox_,
                       .scheduler = *scheduler_,
                       .table = *table_,
                       .clock = clock,
                       .pace = pace_,
                       .arrivals = arrivals_,
                       .stages = stages_,
                       .attention = attention_.get(),
                       .experts = expert_side_.get(),
                       .expert_ranks = parts_.expert_ranks,
                       .live = live_.get(),
                       .gather_short_batches = parts_.job.schedule.gather_short_batches,
                       .group_expert_calls = groups_calls(parts_.job),
                       .pipeline = pipeline_.get()},
      std::move(beat));
}

void RankEngine::make_experts() {
  // The placement lists what a rank hosts by layer, then by place: the order that ExpertStack numbers.
  std::vector<model::HostedExpert> hosted;
  for (const policy::HostedExpert& expert : parts_.placement.hosted(parts_.transport.rank())) {
    hosted.push_back({expert.layer, expert.expert});
  }
  model::ExpertRoom room;
  if (parts_.peers != nullptr) {
    const BoardLayout layout(parts_.config, parts_.expert_ranks.size(), parts_.job.rebalance.spare_places);
    room = {.memory = parts_.peers->own().subspan(layout.parts),
            .num_spare = parts_.job.rebalance.spare_places,
            .num_places = policy::PlacementBook(parts_.placement.maps(), parts_.job.rebalance.spare_places).num_places()};
  }
  expert_stack_ = std::make_unique<model::ExpertStack>(parts_.config, parts_.job.model.compute, parts_.tensors, hosted,
                                                       limits_.expert_rows, room);
}

void RankEngine::make_live() {
  const Job::Rebalance& options = parts_.job.rebalance;
  const policy::PlacementBook book(parts_.placement.maps(), options.spare_places);
  const BoardLayout layout(parts_.config, parts_.expert_ranks.size(), options.spare_places);
  const double copy_s = emulation_ ? emulation_->dilation * emulation_->link.message_s(emulation_->times.expert_weight_bytes()) : 0.0;
  std::unique_ptr<Coordinator> coordinator;
  // The first expert rank stays until no attention rank needs experts any more.
  if (parts_.transport.rank() == parts_.expert_ranks.front()) {
    coordinator = std::make_unique<Coordinator>(
        Coordinator::Parts{.memory = *parts_.peers,
                           .layout = layout,
                           .config = parts_.config,
                           .options = options,
                           .seed = parts_.job.run.seed,
                           .attention_ranks = parts_.attention_ranks,
                           .expert_ranks = parts_.expert_ranks,
                           .curves = speed_curves(parts_.job, static_cast<int>(parts_.expert_ranks.size())),
                           .expert_bytes = model::ExpertStack::expert_bytes(parts_.config, parts_.job.model.compute),
                           .copy_s = copy_s},
        book);
  }
  live_ = std::make_unique<LivePlacement>(LivePlacement::Parts{.memory = *parts_.peers,
                                                               .layout = layout,
                                                               .expert_ranks = parts_.expert_ranks,
                                                               .placement = live_maps_.get(),
                                                               .attention = attention_.get(),
                                                               .stack = expert_stack_.get(),
                                                               .experts = expert_side_.get(),
                                                               .coordinator = std::move(coordinator),
                                                               .interval_s = options.interval_s,
                                                               .copy_s = copy_s},
                                          book);
}

void RankEngine::make_expert_side() {
  std::map<RankId, model::RowExchange> in_reach;
  if (states_ != nullptr) in_reach.emplace(parts_.transport.rank(), states_->exchange());
  for (const RankId rank : parts_.attention_ranks) {
    const auto found = parts_.exchanges.find(rank);
    if (found == parts_.exchanges.end() || rank == parts_.transport.rank()) continue;
    MOEBIUS_EXPECT(found->second.size() == exchange_bytes(parts_.job, row_config_, Roles::attention));
    in_reach.emplace(rank, model::RowExchange(row_config_, parts_.job.model.compute, limits_.max_tokens_in_flight, found->second.data()));
  }
  const ExpertSideOptions options{
      .compute = parts_.job.model.compute,
      .hidden_size = parts_.config.hidden_size,
      .num_experts = parts_.config.num_experts,
      .max_rows_per_call = limits_.expert_rows,
      .max_rows_stored = parts_.all_to_all != nullptr
                             ? 0  // rows are read where they arrive
                             : static_cast<std::int64_t>(parts_.attention_ranks.size() - in_reach.size()) * limits_.max_tokens_in_flight,
      .num_sources = static_cast<int>(parts_.attention_ranks.size()),
      .announce_in_place = parts_.all_to_all == nullptr,
      .layer_before = layers_before(parts_.config)};
  expert_side_ = std::make_unique<ExpertSide>(options, *expert_stack_, stages_, *table_, outbox_, pace_, transport_.max_payload_bytes());
  for (const auto& [rank, rows] : in_reach) expert_side_->reach(rank, rows);
}

void RankEngine::make_attention(ClaimSource claim, RowSink sink) {
  MOEBIUS_EXPECT(parts_.tokenizer != nullptr && parts_.chat_template != nullptr);
  const ComputeType compute = parts_.job.model.compute;
  attention_stack_ = std::make_unique<model::AttentionStack>(parts_.config, compute, parts_.tensors, limits_.micro_batch_tokens,
                                                             parts_.attention_weights);
  kv_ = std::make_unique<model::KvCache>(attention_stack_->kv_layout(), parts_.config.num_layers,
                                         (limits_.kv_tokens + model::KvCache::block_tokens - 1) / model::KvCache::block_tokens);
  const RankId self = parts_.transport.rank();
  const auto own = parts_.exchanges.find(self);
  states_ = std::make_unique<model::TokenStates>(row_config_, compute, limits_.max_tokens_in_flight,
                                                 own == parts_.exchanges.end() ? std::span<std::byte>() : own->second);
  if (collector_ == nullptr) make_ring_sender();
  scorer_ = std::make_unique<Scorer>(*parts_.tokenizer, parts_.config.eos_tokens, parts_.job.run.seed);
  workload_ = std::make_unique<Workload>(limits_, parts_.config, *parts_.tokenizer, *parts_.chat_template, *kv_, *scorer_,
                                         std::move(claim), std::move(sink));
  if (parts_.job.placement.record_trace) {
    recorder_ = std::make_unique<policy::RoutingRecorder>(parts_.config.num_layers, parts_.config.num_experts);
  }
  const int num_ranks = parts_.transport.num_ranks();
  if (parts_.job.capacity.method != CapacityMethod::off) {
    capacity_ = std::make_unique<CapacityStage>(parts_.job, parts_.config, parts_.placement, parts_.attention_ranks, parts_.expert_ranks, self);
  }
  if (parts_.peers != nullptr) live_maps_ = std::make_unique<policy::TablePlacement>(parts_.placement);
  router_ = std::make_unique<policy::ReplicaRouter>(live_maps_ != nullptr ? *live_maps_ : parts_.placement, parts_.config.num_layers, parts_.config.num_experts, num_ranks,
                                                    parts_.transport.rank().value, parts_.job.replicas);
  attention_ = std::make_unique<AttentionSide>(
      AttentionSide::Parts{.config = parts_.config,
                           .compute = compute,
                           .stack = *attention_stack_,
                           .kv = *kv_,
                           .states = *states_,
                           .router = *router_,
                           .workload = *workload_,
                           .scorer = *scorer_,
                           .sender = collector_ != nullptr ? static_cast<RowSender&>(*collector_) : *ring_sender_,
                           .table = *table_,
                           .pace = pace_,
                           .defer_dispatch = parts_.all_to_all != nullptr && has_replicas(),
                           .capacity = capacity_.get(),
                           .recorder = recorder_.get()},
      stages_, limits_.micro_batch_tokens);
}

void RankEngine::make_ring_sender() {
  std::vector<RankId> in_reach;
  for (const RankId rank : parts_.expert_ranks) {
    if (rank == parts_.transport.rank() || parts_.exchanges.contains(rank)) in_reach.push_back(rank);
  }
  const std::size_t row_bytes = static_cast<std::size_t>(parts_.config.hidden_size) * element_bytes(parts_.job.model.compute);
  ring_sender_ = std::make_unique<RingSender>(outbox_, states_->exchange(), row_bytes, row_config_.experts_per_token,
                                         transport_.max_payload_bytes(), in_reach,
                                         parts_.job.schedule.execution == Execution::pipeline ? PartEnds::marked : PartEnds::unmarked);
}

void RankEngine::make_solver() {
  const JobCosts costs = costs_of(parts_.job, parts_.config, parts_.transport.num_ranks());
  const Job::Pipeline& asked = parts_.job.pipeline;
  double slowdown = 1;
  for (const double factor : parts_.job.placement.emulated_slowdown) slowdown = std::max(slowdown, factor);
  solver_ = std::make_unique<policy::PipelineSolver>(policy::PipelineSolver::Parts{
      .times = costs.times,
      .link = costs.link,
      .limits = plan_limits(parts_.job, limits_, limits_),
      .counts = {.attention = static_cast<int>(parts_.attention_ranks.size()), .experts = static_cast<int>(parts_.expert_ranks.size()),
                 .form = policy::RoleCounts::Form::split},
      .fixed = {.r1 = asked.r1, .r2 = asked.r2, .order = asked.order == PipelineOrder::automatic ? std::nullopt : std::optional(asked.order)},
      .expert_slowdown = slowdown});
}

void RankEngine::drop_unfinished() {
  if (workload_ != nullptr) workload_->drop_unfinished();
}

std::int64_t RankEngine::weight_bytes() const {
  std::size_t bytes = 0;
  if (attention_stack_ != nullptr) bytes += attention_stack_->weight_bytes();
  if (expert_stack_ != nullptr) bytes += expert_stack_->weight_bytes();
  return static_cast<std::int64_t>(bytes);
}

std::vector<std::pair<std::string, std::int64_t>> RankEngine::memory_by_kind() const {
  std::vector<std::pair<std::string, std::int64_t>> kinds;
  const auto add = [&](const char* kind, std::size_t bytes) { kinds.emplace_back(kind, static_cast<std::int64_t>(bytes)); };
  if (attention_stack_ != nullptr) {
    add("attention_weights_and_scratch", attention_stack_->bytes());
    add("kv_cache", kv_->bytes());
    add("tokens_in_flight", states_->bytes());
  }
  if (expert_stack_ != nullptr) {
    add("expert_weights_and_scratch", expert_stack_->bytes());
    add("expert_queues", expert_side_->bytes());
  }
  return kinds;
}

}  // namespace moebius::ranks
