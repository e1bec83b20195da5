// SPDX-License-Identifier: Apache-2.0
#pragma once
// What an attention rank keeps of each token in flight, from embedding to logits: a pool of rows that is
// allocated once and bounds the tokens in flight. A row id names a token towards the expert ranks too.
// Invariant: a row belongs to at most one token at a time. Attention ranks only; one thread.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/model_config.hpp"
#include "model/row_exchange.hpp"

namespace moebius::model {

class TokenStates {
 public:
  /// Residual, router weights and expert outputs are fp32 in every compute type.
  /// exchange: memory of the exchange of that many rows (RowExchange::bytes), which others may reach; empty: own memory.
  TokenStates(const ModelConfig& config, ComputeType compute, int capacity, std::span<std::byte> exchange = {});
  TokenStates(const TokenStates&) = delete;
  TokenStates& operator=(const TokenStates&) = delete;

  [[nodiscard]] int capacity() const { return capacity_; }
  [[nodiscard]] int num_free() const { return static_cast<int>(free_rows_.size()); }
  [[nodiscard]] int hidden_size() const { return hidden_size_; }
  [[nodiscard]] int experts_per_token() const { return experts_per_token_; }
  /// Of a pool of these sizes, the exchange included.
  static std::size_t bytes(const ModelConfig& config, ComputeType compute, int capacity);
  [[nodiscard]] std::size_t bytes() const { return bytes_; }

  /// Fills `rows` with free row ids, the lowest ones of a fresh pool first; at most num_free() of them.
  void acquire(std::span<std::int32_t> rows);
  void release(std::span<const std::int32_t> rows);

  [[nodiscard]] float* residual(std::int32_t row) { return residual_.get() + at(row, hidden_size_); }  // [hidden_size]
  [[nodiscard]] const float* residual(std::int32_t row) const { return residual_.get() + at(row, hidden_size_); }
  /// Ascending expert ids of the layer that the token is in, then -1 for places that it does not use. // [experts_per_token]
  [[nodiscard]] std::int32_t* topk_ids(std::int32_t row) { return topk_ids_.data() + at(row, experts_per_token_); }
  [[nodiscard]] const std::int32_t* topk_ids(std::int32_t row) const { return topk_ids_.data() + at(row, experts_per_token_); }
  [[nodiscard]] float* topk_weights(std::int32_t row) { return topk_weights_.data() + at(row, experts_per_token_); }
  [[nodiscard]] const float* topk_weights(std::int32_t row) const { return topk_weights_.data() + at(row, experts_per_token_); }
  /// What passes between the rows and their experts. The input is there from route to combine.
  [[nodiscard]] const RowExchange& exchange() const { return exchange_; }
  [[nodiscard]] std::byte* expert_input(std::int32_t row) { return exchange_.input(row); }
  [[nodiscard]] float* expert_output(std::int32_t row, int k_idx) { return exchange_.output(row, k_idx); }
  [[nodiscard]] const float* expert_outputs() const { return exchange_.output(0, 0); }  // [capacity, k, hidden_size]

 private:
  [[nodiscard]] std::size_t at(std::int32_t row, int width) const;

  int capacity_, hidden_size_, experts_per_token_;
  std::size_t bytes_;
  std::unique_ptr<float[]> residual_;        // [capacity, hidden_size]
  std::unique_ptr<std::byte[]> own_exchange_;  // null where others gave the memory
  RowExchange exchange_;
  std::vector<std::int32_t> topk_ids_;       // [capacity, experts_per_token]
  std::vector<float> topk_weights_;          // [capacity, experts_per_token]
  std::vector<std::int32_t> free_rows_;      // a stack
  std::vector<std::uint8_t> in_use_;         // [capacity]
};

}  // namespace moebius::model
