// SPDX-License-Identifier: Apache-2.0
#include "ranks/capacity_stage.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace moebius::ranks {
namespace {

policy::CapacityGroups groups_of(LayerId layer, const ModelConfig& config, const policy::ExpertPlacement& placement,
                                 const std::vector<RankId>& expert_ranks, const std::vector<RankId>& own) {
  policy::CapacityGroups groups{.group_of = {}, .local = {}, .num_groups = static_cast<int>(expert_ranks.size())};
  for (int expert = 0; expert < config.num_experts; ++expert) {
    const auto replicas = placement.replicas(layer, ExpertId(expert));
    groups.group_of.push_back(static_cast<std::int32_t>(std::ranges::find(expert_ranks, replicas.front().rank) - expert_ranks.begin()));
    const bool local = std::ranges::any_of(replicas, [&](const policy::PhysicalExpert& host) { return std::ranges::find(own, host.rank) != own.end(); });
    groups.local.push_back(local ? 1 : 0);
  }
  return groups;
}

}  // namespace

std::vector<RankId> own_expert_ranks(const std::vector<RankId>& attention_ranks, const std::vector<RankId>& expert_ranks, RankId self) {
  if (attention_ranks == expert_ranks) return {self};
  const auto idx = static_cast<std::size_t>(std::ranges::find(attention_ranks, self) - attention_ranks.begin());
  MOEBIUS_EXPECT(idx < attention_ranks.size());
  const std::size_t begin = idx * expert_ranks.size() / attention_ranks.size();
  const std::size_t end = std::max(begin + 1, (idx + 1) * expert_ranks.size() / attention_ranks.size());
  return {expert_ranks.begin() + static_cast<std::ptrdiff_t>(begin), expert_ranks.begin() + static_cast<std::ptrdiff_t>(end)};
}

ModelConfig config_of_rows(const Job& job, const ModelConfig& config, const policy::ExpertPlacement& placement,
                           const std::vector<RankId>& attention_ranks, const std::vector<RankId>& expert_ranks) {
  ModelConfig rows = config;
  if (job.capacity.method == CapacityMethod::off) return rows;
  for (const RankId self : attention_ranks) {
    const std::vector<RankId> own = own_expert_ranks(attention_ranks, expert_ranks, self);
    for (int layer = 0; layer < config.num_layers; ++layer) {
      if (!config.is_moe(LayerId(layer))) continue;
      const auto groups = groups_of(LayerId(layer), config, placement, expert_ranks, own);
      const auto num_local = static_cast<int>(std::ranges::count(groups.local, 1));
      rows.experts_per_token = std::max(
          rows.experts_per_token, policy::Capacity::most_pairs(job.capacity, config.experts_per_token, config.num_experts, num_local));
    }
  }
  return rows;
}

CapacityStage::CapacityStage(const Job& job, const ModelConfig& config, const policy::ExpertPlacement& placement,
                             const std::vector<RankId>& attention_ranks, const std::vector<RankId>& expert_ranks, RankId self)
    : config_(config), method_(job.capacity.method), phase_(job.capacity.phase) {
  const auto rule = config.router.norm_topk_prob ? policy::WeightRule::renormalise : policy::WeightRule::as_they_are;
  const std::vector<RankId> own = own_expert_ranks(attention_ranks, expert_ranks, self);
  for (int layer = 0; layer < config.num_layers; ++layer) {
    capacities_.push_back(!config.is_moe(LayerId(layer))
                              ? nullptr
                              : std::make_unique<policy::Capacity>(job.capacity, rule, groups_of(LayerId(layer), config, placement, expert_ranks, own),
                                                                   job.run.seed));
  }
}

void CapacityStage::gather_scores(std::size_t num_rows, const model::AttentionStack& stack) {
  const auto num_experts = static_cast<std::size_t>(config_.num_experts);
  scores_.clear();
  if (method_ == CapacityMethod::drop) return;
  scores_.resize(num_rows * num_experts);
  const std::span<const float> logits = stack.router_logits();
  for (std::size_t i = 0; i < num_rows; ++i) {
    const auto row = logits.subspan(i * num_experts, num_experts);
    const auto scores = std::span(scores_).subspan(i * num_experts, num_experts);
    if (config_.router.scores == RouterOptions::Scores::softmax) policy::softmax_scores(row, scores);
    else policy::sigmoid_scores(row, scores);
  }
}

void CapacityStage::apply(LayerId layer, std::span<const std::int32_t> rows, std::span<const std::uint8_t> counted,
                          const model::AttentionStack& stack, model::TokenStates& states) {
  const int k = config_.experts_per_token;
  ids_.clear();
  weights_.clear();
  for (const std::int32_t row : rows) {
    ids_.insert(ids_.end(), states.topk_ids(row), states.topk_ids(row) + k);
    weights_.insert(weights_.end(), states.topk_weights(row), states.topk_weights(row) + k);
  }
  gather_scores(rows.size(), stack);
  const auto kept = capacities_.at(layer.idx())->cut(layer.value, {config_.num_experts, k, ids_, weights_, scores_, counted});
  const auto room = static_cast<std::size_t>(states.experts_per_token());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const std::size_t count = kept.first[i + 1] - kept.first[i];
    MOEBIUS_EXPECT(count <= room);
    std::int32_t* ids = states.topk_ids(rows[i]);
    std::copy_n(kept.ids.begin() + static_cast<std::ptrdiff_t>(kept.first[i]), count, ids);
    std::copy_n(kept.weights.begin() + static_cast<std::ptrdiff_t>(kept.first[i]), count, states.topk_weights(rows[i]));
    std::fill(ids + count, ids + room, -1);
  }
}

std::vector<policy::CapacityCounters> CapacityStage::counters() const {
  std::vector<policy::CapacityCounters> result;
  for (const auto& capacity : capacities_) result.push_back(capacity == nullptr ? policy::CapacityCounters{} : capacity->counters());
  return result;
}

}  // namespace moebius::ranks
