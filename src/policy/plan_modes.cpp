// SPDX-License-Identifier: Apache-2.0
#include "policy/plan_modes.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/check.hpp"
#include "policy/pipeline_solver.hpp"

namespace moebius::policy {
namespace {

using Form = RoleCounts::Form;
using Overheads = PlanTimes::Overheads;
using WhichRank = PlanTimes::WhichRank;

/// Seconds of a mini-batch, and how much of it each resource works.
struct BatchTime {
  double total_s = 0, attention_s = 0, experts_s = 0, links_s = 0;
  PipelineChoice pipeline;
};

class PhasePlanner {
 public:
  PhasePlanner(const PlanQuestion& question, const WorkPhase& phase)
      : question_(question), phase_(phase), times_(question.times, question.link, question.limits, phase), config_(question.times.model().config),
        segment_(std::max(1.0, phase.segment_tokens)), moe_layers_(static_cast<int>(std::ranges::count(config_.moe_layer, 1))),
        dense_layers_(config_.num_layers - moe_layers_) {
    MOEBIUS_EXPECT(moe_layers_ > 0);
  }

  [[nodiscard]] BatchTime plan(PlanMode mode, const RoleCounts& counts, const WorkBatch& batch) const {
    const double tokens = batch.tokens;
    switch (mode) {
      case PlanMode::replicate: return replicate(batch);
      case PlanMode::lockstep: return lockstep(tokens, counts);
      case PlanMode::async_colocated: return async_colocated(tokens, counts.experts);
      case PlanMode::async_split: return async_split(tokens, counts);
      case PlanMode::pingpong:
      case PlanMode::findep: return pipeline(mode, tokens, counts);
    }
    return {};
  }

  [[nodiscard]] double link_bytes_per_token(const RoleCounts& counts, double tokens) const {
    if (counts.form == Form::replicated) return 0;
    return away(counts) * moe_layers_ * (times_.dispatch_bytes(tokens, counts.experts) + times_.outputs_bytes(tokens, counts.experts)) / tokens;
  }

 private:
  /// The share of what is sent that crosses a link.
  static double away(const RoleCounts& counts) { return counts.form == Form::split ? 1.0 : (counts.experts - 1.0) / counts.experts; }
  [[nodiscard]] double experts_s(double tokens, int expert_ranks, Overheads overheads, WhichRank which) const {
    return question_.expert_slowdown * times_.experts_s(tokens, expert_ranks, overheads, which);
  }
  /// Attention of all layers, with shared experts, dense layers and the LM head.
  [[nodiscard]] double attention_side_s(double tokens) const {
    return moe_layers_ * (times_.attention_s(tokens) + times_.shared_s(tokens)) + dense_layers_ * times_.dense_layer_s(tokens) + times_.head_s(tokens);
  }

  [[nodiscard]] BatchTime replicate_once(double tokens) const {
    return {.attention_s = attention_side_s(tokens), .experts_s = moe_layers_ * experts_s(tokens, 1, async_calls(), WhichRank::busiest_of_run)};
  }

  /// The mean of the batches of a rank that waits for no other. Only the first is a whole budget of tokens: each LM head makes room for
  /// a micro-batch of new ones, which goes through all layers before what is ahead of it moves on (flfs).
  [[nodiscard]] BatchTime replicate(const WorkBatch& batch) const {
    BatchTime time = replicate_once(batch.tokens);
    if (phase_.kind == WorkPhase::Kind::prompts && batch.count > 1) {
      const double wave = std::min(batch.tokens, question_.limits.micro_batch_tokens), waves = (batch.count - 1) * batch.tokens / wave;
      const BatchTime later = replicate_once(wave);
      time.attention_s = (time.attention_s + waves * later.attention_s) / batch.count;
      time.experts_s = (time.experts_s + waves * later.experts_s) / batch.count;
    }
    time.total_s = time.attention_s + time.experts_s;
    return time;
  }

  [[nodiscard]] BatchTime lockstep(double tokens, const RoleCounts& counts) const {
    BatchTime time{.attention_s = attention_side_s(tokens),
                   .experts_s = moe_layers_ * experts_s(counts.attention * tokens, counts.experts, Overheads::once, WhichRank::slowest_of_layer)};
    if (counts.ranks() > 1) {
      const double exchanges_s = counts.form == Form::split ? times_.exchanges_of_split_s(tokens, counts.attention, counts.experts)
                                                            : times_.exchange_out_s(tokens, counts.experts) + times_.exchange_back_s(tokens, counts.experts);
      // Before rows travel ranks tell each other how many; and before a step, whether there is one.
      time.links_s = moe_layers_ * (times_.latency_s() + exchanges_s) + times_.latency_s();
    }
    time.total_s = time.attention_s + time.experts_s + time.links_s;
    return time;
  }

  [[nodiscard]] BatchTime async_colocated(double tokens, int ranks) const {
    BatchTime time{.attention_s = attention_side_s(tokens),
                   .experts_s = moe_layers_ * experts_s(ranks * tokens, ranks, async_calls(), WhichRank::busiest_of_run)};
    if (ranks > 1) time.links_s = moe_layers_ * links_s(tokens, ranks, ranks, (ranks - 1.0) / ranks);
    time.total_s = std::max(time.attention_s + time.experts_s, time.links_s);
    return time;
  }

  [[nodiscard]] BatchTime async_split(double tokens, const RoleCounts& counts) const {
    BatchTime time{.attention_s = attention_side_s(tokens),
                   .experts_s = moe_layers_ * experts_s(counts.attention * tokens, counts.experts, async_calls(), WhichRank::busiest_of_run),
                   .links_s = moe_layers_ * links_s(tokens, counts.attention, counts.experts, 1)};
    time.total_s = std::max({time.attention_s, time.experts_s, time.links_s});
    return time;
  }

  [[nodiscard]] Overheads async_calls() const { return question_.limits.grouped_calls ? Overheads::once : Overheads::each_call; }

  /// Of asynchronous execution: out and back go at once.
  [[nodiscard]] double links_s(double tokens, int attention_ranks, int expert_ranks, double away) const {
    const auto messages = question_.limits.grouped_calls ? PlanTimes::Messages::of_ranks : PlanTimes::Messages::of_calls;
    return std::max(times_.dispatch_s(tokens, attention_ranks, expert_ranks, away), times_.outputs_s(tokens, attention_ranks, expert_ranks, away, messages));
  }

  [[nodiscard]] BatchTime pipeline(PlanMode mode, double tokens, const RoleCounts& counts) const {
    const auto segments = std::max(1, static_cast<int>(std::llround(tokens / segment_)));
    const double segment = tokens / segments;
    const PipelineCosts costs = pipeline_costs(times_, counts, segment, question_.expert_slowdown);
    const int min_r1 = least_r1(std::llround(tokens), std::llround(segment), std::llround(std::min(question_.limits.pipeline_tokens, 1e15)));
    BatchTime time;
    time.pipeline = choose_pipeline(mode == PlanMode::pingpong ? PipelineKind::pingpong : PipelineKind::findep, costs, moe_layers_, segments, segment,
                                    {.r1 = question_.r1, .r2 = question_.r2, .order = question_.order, .min_r1 = min_r1});
    const PipelineChoice& chosen = time.pipeline;
    const double micro_batch = static_cast<double>(segments) / chosen.r1, part = micro_batch / chosen.r2;
    const double attention_s = costs.attention(micro_batch) + costs.shared(micro_batch);
    const double out_s = costs.dispatch(part), expert_s = costs.expert(part), back_s = costs.combine(part);
    time.attention_s = moe_layers_ * chosen.r1 * attention_s;
    time.experts_s = moe_layers_ * chosen.r1 * chosen.r2 * expert_s;
    time.links_s = moe_layers_ * chosen.r1 * chosen.r2 * std::max(out_s, back_s);
    // Dense layers have nothing to overlap with; LM heads stand where attention of one more layer would.
    const double head_s = times_.head_s(micro_batch * segment), period_s = std::max(attention_s, chosen.r2 * std::max({out_s, expert_s, back_s}));
    const double dense_s = dense_layers_ * chosen.r1 * times_.dense_layer_s(micro_batch * segment);
    time.total_s = std::max(chosen.makespan_s + head_s + (chosen.r1 - 1) * std::max(0.0, head_s - period_s), time.attention_s + chosen.r1 * head_s) + dense_s;
    return time;
  }

  const PlanQuestion& question_;
  const WorkPhase& phase_;
  PlanTimes times_;
  const ModelConfig& config_;
  double segment_;
  int moe_layers_, dense_layers_;
};

RoleCounts counts_of(const PlanQuestion& question, PlanMode mode, int attention_ranks) {
  const bool split_lockstep = mode == PlanMode::lockstep && attention_ranks > 0 && attention_ranks < question.num_ranks;
  if (!is_split(mode) && !split_lockstep) {
    return {.attention = question.num_ranks, .experts = question.num_ranks, .form = mode == PlanMode::replicate ? Form::replicated : Form::colocated};
  }
  return {.attention = attention_ranks, .experts = question.num_ranks - attention_ranks, .form = Form::split};
}

std::string busiest_of(const BatchTime& sum) {
  if (sum.links_s > std::max(sum.attention_s, sum.experts_s)) return "links";
  return sum.experts_s > sum.attention_s ? "experts" : "attention";
}

bool is_better(const PlannedMode& a, const PlannedMode& b) { return std::pair(a.fits, a.tokens_per_s) > std::pair(b.fits, b.tokens_per_s); }

/// The best split; ties to fewer attention ranks. No pipeline makes more tokens than the bound of its split, so that splits are looked at by
/// falling bound, and the rest need not be.
PlannedMode best_split(const PlanQuestion& question, PlanMode mode, const std::vector<PlannedMode>& bounds) {
  std::vector<std::size_t> order(bounds.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(order, [&](std::size_t a, std::size_t b) { return is_better(bounds[a], bounds[b]); });
  std::optional<PlannedMode> best;
  for (const std::size_t i : order) {
    if (best && !is_better(bounds[i], *best)) break;
    PlannedMode plan = is_pipeline(mode) ? plan_mode(question, mode, bounds[i].counts.attention) : bounds[i];
    if (!best || is_better(plan, *best)) best = std::move(plan);
  }
  return *best;
}

}  // namespace

const char* to_string(PlanMode mode) {
  switch (mode) {
    case PlanMode::replicate: return "replicate";
    case PlanMode::lockstep: return "lockstep";
    case PlanMode::async_colocated: return "async";
    case PlanMode::async_split: return "async split";
    case PlanMode::pingpong: return "ping-pong";
    case PlanMode::findep: return "FinDEP";
  }
  return "?";
}

const PlannedPhase& PlannedMode::main_phase() const {
  MOEBIUS_EXPECT(!phases.empty());
  return *std::ranges::max_element(phases, {}, [](const PlannedPhase& phase) { return phase.batch.count * phase.batch_s; });
}

PlannedMode plan_mode(const PlanQuestion& question, PlanMode mode, int attention_ranks) {
  MOEBIUS_EXPECT(!question.phases.empty() && question.num_ranks >= 1 && (!is_split(mode) || (attention_ranks >= 1 && attention_ranks < question.num_ranks)));
  PlannedMode plan{.mode = mode, .counts = counts_of(question, mode, attention_ranks)};
  plan.rank_bytes = rank_bytes(question.memory, plan.counts);
  plan.fits = fits(question.memory, plan.counts);
  double tokens = 0, batches = 0, link_bytes = 0;
  BatchTime sum;
  for (const WorkPhase& phase : question.phases) {
    const WorkBatch batch = batch_of(phase, plan.counts.attention);
    const PhasePlanner planner(question, phase);
    const BatchTime time = planner.plan(mode, plan.counts, batch);
    plan.phases.push_back({.batch = batch, .batch_s = time.total_s, .pipeline = time.pipeline});
    plan.job_s += batch.count * time.total_s;
    tokens += phase.tokens();
    batches += batch.count;
    link_bytes += phase.tokens() * planner.link_bytes_per_token(plan.counts, batch.tokens);
    sum.attention_s += batch.count * time.attention_s;
    sum.experts_s += batch.count * time.experts_s;
    sum.links_s += batch.count * time.links_s;
  }
  plan.busiest = busiest_of(sum);
  plan.layer_s = plan.job_s / batches / question.times.model().config.num_layers;
  plan.tokens_per_s = tokens / plan.job_s;
  plan.link_bytes_per_token = link_bytes / tokens;
  return plan;
}

std::vector<PlannedMode> plan_modes(const PlanQuestion& question) {
  std::vector<PlannedMode> modes;
  for (const PlanMode mode : {PlanMode::replicate, PlanMode::lockstep, PlanMode::async_colocated}) modes.push_back(plan_mode(question, mode, 0));
  if (question.num_ranks < 2) return modes;
  std::vector<PlannedMode> bounds;
  for (int attention_ranks = 1; attention_ranks < question.num_ranks; ++attention_ranks) {
    if (question.attention_ranks > 0 && attention_ranks != question.attention_ranks) continue;
    bounds.push_back(plan_mode(question, PlanMode::async_split, attention_ranks));
  }
  MOEBIUS_EXPECT(!bounds.empty());
  for (const PlanMode mode : {PlanMode::async_split, PlanMode::pingpong, PlanMode::findep}) modes.push_back(best_split(question, mode, bounds));
  return modes;
}

std::optional<PlannedMode> best_mode(const std::vector<PlannedMode>& modes) {
  std::optional<PlannedMode> best;
  for (const PlannedMode& plan : modes) {
    if (plan.fits && !is_bound(plan.mode) && (!best || plan.tokens_per_s > best->tokens_per_s)) best = plan;
  }
  return best;
}

}  // namespace moebius::policy
