// SPDX-License-Identifier: Apache-2.0
#include "model/token_states.hpp"

#include "base/check.hpp"

namespace moebius::model {

namespace {

std::unique_ptr<std::byte[]> allocate_where_none(std::span<std::byte> given, std::size_t bytes) {
  MOEBIUS_EXPECT(given.empty() || given.size() >= bytes);
  // Not initialised: rows that are never used cost no memory.
  return given.empty() ? std::make_unique_for_overwrite<std::byte[]>(bytes) : nullptr;
}

}  // namespace

TokenStates::TokenStates(const ModelConfig& config, ComputeType compute, int capacity, std::span<std::byte> exchange)
    : capacity_(capacity),
      hidden_size_(config.hidden_size),
      experts_per_token_(config.experts_per_token),
      bytes_(bytes(config, compute, capacity)),
      own_exchange_(allocate_where_none(exchange, RowExchange::bytes(config, compute, capacity))),
      exchange_(config, compute, capacity, own_exchange_ != nullptr ? own_exchange_.get() : exchange.data()) {
  MOEBIUS_EXPECT(capacity > 0);
  const auto rows = static_cast<std::size_t>(capacity), hidden = static_cast<std::size_t>(hidden_size_);
  const auto k = static_cast<std::size_t>(experts_per_token_);
  residual_ = std::make_unique_for_overwrite<float[]>(rows * hidden);
  topk_ids_.assign(rows * k, -1);
  topk_weights_.assign(rows * k, 0.0F);
  in_use_.assign(rows, 0);
  for (std::int32_t row = capacity; row-- > 0;) free_rows_.push_back(row);
}

std::size_t TokenStates::bytes(const ModelConfig& config, ComputeType compute, int capacity) {
  const auto hidden = static_cast<std::size_t>(config.hidden_size), k = static_cast<std::size_t>(config.experts_per_token);
  const std::size_t num_floats = hidden + k, num_ids = k + 1;
  return RowExchange::bytes(config, compute, capacity) +
         static_cast<std::size_t>(capacity) * (num_floats * sizeof(float) + num_ids * sizeof(std::int32_t) + 1);
}

void TokenStates::acquire(std::span<std::int32_t> rows) {
  MOEBIUS_EXPECT(rows.size() <= free_rows_.size());
  for (std::int32_t& row : rows) {
    row = free_rows_.back();
    free_rows_.pop_back();
    in_use_[static_cast<std::size_t>(row)] = 1;
  }
}

void TokenStates::release(std::span<const std::int32_t> rows) {
  // Backwards, so that a run of rows is handed out again in the same order and stays contiguous.
  for (std::size_t i = rows.size(); i-- > 0;) {
    MOEBIUS_EXPECT(rows[i] >= 0 && rows[i] < capacity_ && in_use_[static_cast<std::size_t>(rows[i])] != 0);
    in_use_[static_cast<std::size_t>(rows[i])] = 0;
    free_rows_.push_back(rows[i]);
  }
}

std::size_t TokenStates::at(std::int32_t row, int width) const {
  MOEBIUS_EXPECT(row >= 0 && row < capacity_);
  return static_cast<std::size_t>(row) * static_cast<std::size_t>(width);
}

}  // namespace moebius::model
