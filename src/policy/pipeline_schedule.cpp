// SPDX-License-Identifier: Apache-2.0
#include "policy/pipeline_schedule.hpp"

#include <algorithm>
#include <cmath>
#include <optional>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

enum class Keep : std::uint8_t { tasks, makespan };

class Recurrence {
 public:
  Recurrence(std::span<const MicroBatchTimes> micro_batches, Keep keep)
      : micro_batches_(micro_batches), keep_(keep), ready_(micro_batches.size(), 0.0) {}

  void run_layer(int layer, PipelineOrder order) {
    for (std::size_t i = 0; i < micro_batches_.size(); ++i) {
      run_attention(layer, i, order == PipelineOrder::fused ? micro_batches_[i].shared_s : 0.0);
      if (order == PipelineOrder::asas) run_shared(layer, i);
    }
    for (std::size_t i = 0; order == PipelineOrder::aass && i < micro_batches_.size(); ++i) run_shared(layer, i);
  }
  PipelineSchedule take() {
    schedule_.makespan_s = makespan_s();
    return std::move(schedule_);
  }
  [[nodiscard]] double makespan_s() const { return std::max({attention_s_, link_out_s_, experts_s_, link_back_s_}); }
  /// All that a later layer depends on.
  [[nodiscard]] std::vector<double> state() const {
    std::vector<double> state = ready_;
    state.insert(state.end(), {attention_s_, link_out_s_, experts_s_, link_back_s_});
    return state;
  }

 private:
  /// One task: it begins when its resource is free and what it needs is there. Returns its end.
  double place(TaskKind kind, int layer, std::size_t i, std::size_t part, double& resource_s, double ready_s, double duration_s) {
    const double begin_s = std::max(resource_s, ready_s);
    resource_s = begin_s + duration_s;
    if (keep_ == Keep::tasks) {
      schedule_.tasks.push_back({.kind = kind,
                                 .layer = layer,
                                 .micro_batch = static_cast<int>(i),
                                 .part = static_cast<int>(part),
                                 .begin_s = begin_s,
                                 .end_s = resource_s});
    }
    return resource_s;
  }

  void run_attention(int layer, std::size_t i, double fused_s) {
    const MicroBatchTimes& times = micro_batches_[i];
    const double attention_end_s = place(TaskKind::attention, layer, i, 0, attention_s_, ready_[i], times.attention_s + fused_s);
    ready_[i] = attention_end_s;
    for (std::size_t j = 0; j < times.parts.size(); ++j) {
      const PartTimes& part = times.parts[j];
      if (part.empty) continue;
      const double sent_s = place(TaskKind::dispatch, layer, i, j, link_out_s_, attention_end_s, part.dispatch_s);
      const double computed_s = place(TaskKind::expert, layer, i, j, experts_s_, sent_s, part.expert_s);
      ready_[i] = std::max(ready_[i], place(TaskKind::combine, layer, i, j, link_back_s_, computed_s, part.combine_s));
    }
    attention_end_s_.resize(micro_batches_.size());
    attention_end_s_[i] = attention_end_s;
  }

  void run_shared(int layer, std::size_t i) {
    if (micro_batches_[i].shared_s <= 0) return;
    ready_[i] = std::max(ready_[i], place(TaskKind::shared, layer, i, 0, attention_s_, attention_end_s_[i], micro_batches_[i].shared_s));
  }

  std::span<const MicroBatchTimes> micro_batches_;
  Keep keep_;
  std::vector<double> ready_, attention_end_s_;  // [micro-batches] for the next layer; of this layer
  double attention_s_ = 0, link_out_s_ = 0, experts_s_ = 0, link_back_s_ = 0;  // when each resource is free
  PipelineSchedule schedule_;
};

/// By how much all of `now` is later than `before`; nothing where it is not the same for all.
std::optional<double> shift_between(const std::vector<double>& before, const std::vector<double>& now) {
  constexpr double rounding = 1e-12;
  const double shift = now.front() - before.front();
  for (std::size_t i = 0; i < now.size(); ++i) {
    if (std::abs(now[i] - before[i] - shift) > rounding * now[i]) return std::nullopt;
  }
  return shift;
}

}  // namespace

const char* to_string(TaskKind kind) {
  switch (kind) {
    case TaskKind::attention: return "attention";
    case TaskKind::shared: return "shared experts";
    case TaskKind::dispatch: return "dispatch";
    case TaskKind::expert: return "experts";
    case TaskKind::combine: return "combine";
  }
  return "unknown";
}

PipelineSchedule schedule_pipeline(int num_layers, PipelineOrder order, std::span<const MicroBatchTimes> micro_batches) {
  MOEBIUS_EXPECT(num_layers >= 1 && !micro_batches.empty());
  Recurrence recurrence(micro_batches, Keep::tasks);
  for (int layer = 0; layer < num_layers; ++layer) recurrence.run_layer(layer, order);
  return recurrence.take();
}

double pipeline_makespan(int num_layers, PipelineOrder order, std::span<const MicroBatchTimes> micro_batches) {
  MOEBIUS_EXPECT(num_layers >= 1 && !micro_batches.empty());
  Recurrence recurrence(micro_batches, Keep::makespan);
  std::vector<double> before;
  for (int layer = 0; layer < num_layers; ++layer) {
    recurrence.run_layer(layer, order);
    std::vector<double> now = recurrence.state();
    // All layers are alike, so once one has moved everything by the same time all later ones will.
    if (const auto shift = before.empty() ? std::nullopt : shift_between(before, now)) {
      return recurrence.makespan_s() + *shift * (num_layers - 1 - layer);
    }
    before = std::move(now);
  }
  return recurrence.makespan_s();
}

std::vector<MicroBatchTimes> micro_batches_of(const EvenPipeline& even) {
  const PartTimes part{.dispatch_s = even.dispatch_s, .expert_s = even.expert_s, .combine_s = even.combine_s};
  const MicroBatchTimes one{.attention_s = even.attention_s,
                            .shared_s = even.shared_s,
                            .parts = std::vector<PartTimes>(static_cast<std::size_t>(even.r2), part)};
  return std::vector<MicroBatchTimes>(static_cast<std::size_t>(even.r1), one);
}

double asas_makespan(const EvenPipeline& even) {
  const double attention = even.attention_s + even.shared_s;                                // X
  const double part = std::max({even.dispatch_s, even.expert_s, even.combine_s});           // Y
  const double period = std::max(attention, even.r2 * part);                                // F: from one micro-batch to the next
  const double passage = even.attention_s + even.dispatch_s + even.expert_s + even.combine_s + (even.r2 - 1) * part;  // G: of one
  return (even.num_layers - 1) * std::max(passage, even.r1 * period) + (even.r1 - 1) * period + std::max(attention, passage);
}

double asas_makespan_as_printed(const EvenPipeline& even) {
  return asas_makespan(even) + (even.r2 - 1) * std::max({even.expert_s, even.dispatch_s, even.combine_s});
}

double pingpong_makespan(int num_layers, int num_micro_batches, double attention_s, double expert_s, double link_s) {
  return attention_s + expert_s + 2 * link_s + std::max(attention_s, expert_s) * (static_cast<double>(num_micro_batches) * num_layers - 1);
}

int pingpong_knee(double attention_s, double expert_s, double link_s) {
  return static_cast<int>(std::ceil(2 * (1 + link_s / std::max(attention_s, expert_s))));
}

}  // namespace moebius::policy
