// SPDX-License-Identifier: Apache-2.0
#include "policy/plan_advice.hpp"

#include <algorithm>
#include <cstdio>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

constexpr int most_ranks = 1 << 16;

/// Three digits, as people read rates.
std::string short_number(double value) {
  const double scale = value >= 1e9 ? 1e9 : value >= 1e6 ? 1e6 : value >= 1e3 ? 1e3 : 1;
  const int decimals = value / scale >= 100 ? 0 : value / scale >= 10 ? 1 : 2;
  char text[32];
  std::snprintf(text, sizeof text, "%.*f%s", decimals, value / scale, scale == 1e9 ? "G" : scale == 1e6 ? "M" : scale == 1e3 ? "k" : "");
  return text;
}

std::string in_gib(std::int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f GiB", static_cast<double>(bytes) / (1024.0 * 1024.0 * 1024.0));
  return text;
}

std::string rate_of(const PlannedMode& plan) { return short_number(plan.tokens_per_s) + " tokens/s"; }

const PlannedMode* find(const std::vector<PlannedMode>& modes, PlanMode mode) {
  const auto found = std::ranges::find(modes, mode, &PlannedMode::mode);
  return found == modes.end() ? nullptr : &*found;
}

/// The best of some ways, whether it fits or not.
const PlannedMode* best_of(const std::vector<PlannedMode>& modes, bool (*counts)(PlanMode)) {
  const PlannedMode* best = nullptr;
  for (const PlannedMode& plan : modes) {
    if (counts(plan.mode) && (best == nullptr || plan.tokens_per_s > best->tokens_per_s)) best = &plan;
  }
  return best;
}

std::string against(const PlannedMode* other) {
  if (other == nullptr) return {};
  return ", against " + rate_of(*other) + " of " + to_string(other->mode) + (other->fits ? "" : ", which does not fit") + ", held up by its " + other->busiest;
}

/// Why the best is the best.
std::string reason_for(const PlannedMode& best, const std::vector<PlannedMode>& modes) {
  std::string reason;
  const PlannedMode* pipeline = best_of(modes, is_pipeline);
  switch (best.mode) {
    case PlanMode::replicate: return "the whole model fits into each rank, and nothing crosses a link" + against(find(modes, PlanMode::lockstep));
    case PlanMode::lockstep:
      reason = pipeline == nullptr ? std::string("there is nobody to share the work with")
                                   : "disaggregation loses here: attention or experts wait for the other" + against(pipeline);
      break;
    case PlanMode::async_colocated:
    case PlanMode::async_split: reason = "it is the way that the job asks for"; break;
    case PlanMode::pingpong:
    case PlanMode::findep:
      reason = "transfers and the other group's work are hidden behind its " + best.busiest + against(find(modes, PlanMode::lockstep));
      break;
  }
  const PlannedMode* whole = find(modes, PlanMode::replicate);
  if (whole != nullptr && !whole->fits) reason += "; a whole model, with " + in_gib(whole->rank_bytes) + ", does not fit into a rank";
  return reason;
}

PlanQuestion with_ranks(PlanQuestion question, int num_ranks) {
  question.memory.node_limit_bytes = question.memory.node_limit_bytes / question.num_ranks * num_ranks;
  question.attention_ranks = 0;
  question.num_ranks = num_ranks;
  return question;
}

bool anything_fits(const PlanQuestion& question) {
  const int ranks = question.num_ranks;
  if (fits(question.memory, {.attention = ranks, .experts = ranks, .form = RoleCounts::Form::colocated})) return true;
  for (int attention = 1; attention < ranks; attention *= 2) {
    if (fits(question.memory, {.attention = attention, .experts = ranks - attention, .form = RoleCounts::Form::split})) return true;
  }
  return false;
}

}  // namespace

std::string setting_of(const PlannedMode& plan) {
  const std::string split = "layout.mode = \"split\" with " + std::to_string(plan.counts.attention) + " attention and " + std::to_string(plan.counts.experts) +
                            " expert ranks and schedule.execution = ";
  switch (plan.mode) {
    case PlanMode::replicate: return "layout.mode = \"replicate\"";
    case PlanMode::lockstep: return "layout.mode = \"colocated\" and schedule.execution = \"lockstep\"";
    case PlanMode::async_colocated: return "layout.mode = \"colocated\" and schedule.execution = \"async\"";
    case PlanMode::async_split: return split + "\"async\"";
    case PlanMode::pingpong:
    case PlanMode::findep: {
      const PipelineChoice& pipeline = plan.main_phase().pipeline;
      return split + "\"pipeline\" (" + to_string(plan.mode) + ": pipeline.r1 = " + std::to_string(pipeline.r1) + ", r2 = " + std::to_string(pipeline.r2) +
             ", order = \"" + to_string(pipeline.order) + "\")";
    }
  }
  return "";
}

std::string recommendation(const PlanQuestion& question, const std::vector<PlannedMode>& modes, const PlannedMode& best) {
  const std::string text = "Use " + setting_of(best) + ": " + (is_bound(best.mode) ? "at most " : "") + rate_of(best) + " on " + std::to_string(question.num_ranks) +
                           (question.num_ranks == 1 ? " rank" : " ranks") + ", since " + reason_for(best, modes);
  const auto fastest = best_mode(modes);
  if (fastest && fastest->tokens_per_s > best.tokens_per_s) return text + " (the job allows no other; " + setting_of(*fastest) + " would make " + rate_of(*fastest) + ").";
  for (const PlanMode bound : {PlanMode::async_split, PlanMode::async_colocated}) {
    const PlannedMode* async = find(modes, bound);
    if (is_bound(best.mode) || async == nullptr || !async->fits || async->tokens_per_s <= best.tokens_per_s) continue;
    return text + " (" + setting_of(*async) + " has a bound of " + rate_of(*async) + " and may do better).";
  }
  return text + ".";
}

std::vector<std::string> what_would_change(const PlanQuestion& question, const std::vector<PlannedMode>& modes) {
  const auto best = best_mode(modes);
  const auto sentence = [&](const std::string& what, const PlanQuestion& other) {
    const auto then = best_mode(plan_modes(other));
    if (!then) return what + ": nothing fits.";
    return what + ((best && then->mode == best->mode) ? ": still " : ": ") + setting_of(*then) + ", " + rate_of(*then) + ".";
  };
  PlanQuestion faster = question;
  faster.link.bytes_per_s *= 10;
  faster.link.latency_s /= 10;
  const int more = std::min(2 * question.num_ranks, most_ranks);
  return {sentence("With links ten times as fast", faster), sentence("With " + std::to_string(more) + " ranks", with_ranks(question, more))};
}

int ranks_that_fit(const PlanQuestion& question) {
  for (int ranks = question.num_ranks; ranks <= most_ranks; ranks *= 2) {
    if (anything_fits(with_ranks(question, ranks))) return ranks;
  }
  return 0;
}

std::string refusal(const PlanQuestion& question, const std::vector<PlannedMode>& modes) {
  MOEBIUS_EXPECT(!modes.empty());
  const PlanMemory& memory = question.memory;
  const auto needed = [&](const PlannedMode& plan) { return memory.node_limit_bytes > 0 ? node_bytes(memory, plan.counts) : plan.rank_bytes; };
  const PlannedMode& least = *std::ranges::min_element(modes, {}, needed);
  const RoleNeeds needs = needs_of(memory, least.counts);
  std::string kinds;
  for (const auto* role : {&needs.attention, &needs.experts}) {
    if (role == &needs.experts && !is_split(least.mode)) break;
    kinds += role == &needs.experts ? "; a rank with experts:" : is_split(least.mode) ? " a rank with attention:" : " a rank:";
    for (const MemoryNeed& need : *role) {
      if (need.bytes > 0) kinds += " " + need.kind + " " + in_gib(need.bytes) + ",";
    }
    kinds.pop_back();
  }
  const int enough = ranks_that_fit(question);
  const std::string who = std::to_string(question.num_ranks) + (question.num_ranks == 1 ? " rank" : " ranks");
  const std::string has = memory.node_limit_bytes > 0 ? in_gib(memory.node_limit_bytes) + " for all" : in_gib(memory.rank_limit_bytes) + " each";
  return question.times.model().name + " does not fit on " + who + " in any way that the job allows (" + memory.limit + " gives " + has + "; " +
         to_string(least.mode) + ", which needs least, takes " + in_gib(needed(least)) + ":" + kinds + ") " +
         (enough > 0 ? "use " + std::to_string(enough) + " such ranks or more" : "use ranks with more memory") + ", or lower limits.kv_tokens and limits.max_tokens_in_flight";
}

}  // namespace moebius::policy
