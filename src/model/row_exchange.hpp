// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the experts find the rows of one attention rank and leave their outputs: a view of memory that the attention
// rank and the expert ranks of its node address alike, so that nothing is copied between them. A row belongs to the
// experts from the message that names it until the message that names its outputs; else to the attention rank.

#include <cstddef>
#include <cstdint>

#include "base/check.hpp"
#include "base/model_config.hpp"

namespace moebius::model {

class RowExchange {
 public:
  /// memory: bytes() of the same arguments, on a cache line border; not initialised, so that rows that are never used
  /// cost no memory.
  RowExchange(const ModelConfig& config, ComputeType compute, int capacity, std::byte* memory)
      : capacity_(capacity),
        experts_per_token_(config.experts_per_token),
        input_bytes_(static_cast<std::size_t>(config.hidden_size) * element_bytes(compute)),
        hidden_size_(static_cast<std::size_t>(config.hidden_size)),
        outputs_(reinterpret_cast<float*>(memory)),
        inputs_(memory + output_bytes(config, capacity)) {}

  static std::size_t bytes(const ModelConfig& config, ComputeType compute, int capacity) {
    return output_bytes(config, capacity) +
           static_cast<std::size_t>(capacity) * static_cast<std::size_t>(config.hidden_size) * element_bytes(compute);
  }

  [[nodiscard]] int capacity() const { return capacity_; }
  /// What the experts of a row multiply. // [hidden_size] in compute type
  [[nodiscard]] std::byte* input(std::int32_t row) const {
    MOEBIUS_EXPECT(row >= 0 && row < capacity_);
    return inputs_ + static_cast<std::size_t>(row) * input_bytes_;
  }
  /// Where the output of the row's k_idx-th expert goes, unweighted. // [hidden_size]
  [[nodiscard]] float* output(std::int32_t row, int k_idx) const {
    MOEBIUS_EXPECT(row >= 0 && row < capacity_ && k_idx >= 0 && k_idx < experts_per_token_);
    return outputs_ + (static_cast<std::size_t>(row) * static_cast<std::size_t>(experts_per_token_) + static_cast<std::size_t>(k_idx)) * hidden_size_;
  }

 private:
  static std::size_t output_bytes(const ModelConfig& config, int capacity) {
    return static_cast<std::size_t>(capacity) * static_cast<std::size_t>(config.experts_per_token) *
           static_cast<std::size_t>(config.hidden_size) * sizeof(float);
  }

  int capacity_, experts_per_token_;
  std::size_t input_bytes_, hidden_size_;
  float* outputs_;     // [capacity, experts_per_token, hidden_size]
  std::byte* inputs_;  // [capacity, hidden_size] compute type
};

}  // namespace moebius::model
