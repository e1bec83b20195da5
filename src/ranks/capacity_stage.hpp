// SPDX-License-Identifier: Apache-2.0
#pragma once
// Capacity-aware routing of an attention rank (policy/capacity.hpp): between router and dispatch it changes which
// experts the rows of a micro-batch go to, and with which weights. What is dropped is neither sent nor computed.
// Only where a job asks for it: what a row becomes then depends on the rows that share its micro-batch.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "model/attention_stack.hpp"
#include "model/token_states.hpp"
#include "policy/capacity.hpp"
#include "policy/layout.hpp"
#include "policy/placement.hpp"

namespace moebius::ranks {

/// The expert ranks of an attention rank's own group, whose experts may take more of its rows: itself where colocated;
/// else a run of the expert ranks, as long for every attention rank where that divides.
std::vector<RankId> own_expert_ranks(const std::vector<RankId>& attention_ranks, const std::vector<RankId>& expert_ranks, RankId self);

/// The config of a model whose rows have room for as many experts as capacity may give a row; the model's own where it
/// gives no row more. Everything that holds or carries rows is made with it.
ModelConfig config_of_rows(const Job& job, const ModelConfig& config, const policy::ExpertPlacement& placement,
                           const std::vector<RankId>& attention_ranks, const std::vector<RankId>& expert_ranks);

class CapacityStage {
 public:
  CapacityStage(const Job& job, const ModelConfig& config, const policy::ExpertPlacement& placement,
                const std::vector<RankId>& attention_ranks, const std::vector<RankId>& expert_ranks, RankId self);

  /// Whether a row of this phase is counted and cut.
  [[nodiscard]] bool counts(bool generated) const {
    return phase_ == CapacityPhase::all || (phase_ == CapacityPhase::generation) == generated;
  }
  /// After route() of these rows: experts and weights of the rows anew; unused places get expert -1.
  void apply(LayerId layer, std::span<const std::int32_t> rows, std::span<const std::uint8_t> counted, const model::AttentionStack& stack,
             model::TokenStates& states);
  /// [layers], zeros for dense ones.
  [[nodiscard]] std::vector<policy::CapacityCounters> counters() const;

 private:
  void gather_scores(std::size_t num_rows, const model::AttentionStack& stack);

  const ModelConfig& config_;
  CapacityMethod method_;
  CapacityPhase phase_;
  std::vector<std::unique_ptr<policy::Capacity>> capacities_;  // [layers] null for dense ones
  std::vector<std::int32_t> ids_;   // [rows, experts_per_token]
  std::vector<float> weights_;      // [rows, experts_per_token]
  std::vector<float> scores_;       // [rows, num_experts]
};

}  // namespace moebius::ranks
