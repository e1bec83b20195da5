// SPDX-License-Identifier: Apache-2.0
#pragma once
// A small model of odd sizes with random weights, in memory: shapes that published checkpoints do not have
// find errors that theirs hide.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/model_config.hpp"
#include "base/tensor.hpp"

namespace moebius::test {

class RandomModel {
 public:
  /// Weights of `config` in `dtype` (f32, f16 or bf16), scaled so that signals keep their size from layer to
  /// layer. The same seed gives the same weights.
  RandomModel(const ModelConfig& config, DType dtype, std::uint64_t seed);

  [[nodiscard]] const ModelConfig& config() const { return config_; }
  /// Good as long as the model lives and no tensor is taken out.
  [[nodiscard]] TensorLookup lookup() const;
  /// For tests of what happens when something is wrong.
  struct Tensor {
    DType dtype = DType::f32;
    std::vector<std::int64_t> shape;
    std::vector<std::byte> bytes;
  };
  std::map<std::string, Tensor, std::less<>>& tensors() { return tensors_; }

 private:
  ModelConfig config_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

/// 3 layers of which the middle one is dense, GQA 3:1, nothing a multiple of a vector length, no
/// renormalisation, untied.
ModelConfig odd_model_config();
/// The same with QKV bias, windows of 19 and 40 positions, and a gated shared expert (Qwen2-MoE).
ModelConfig odd_window_config();
/// The same with a norm over all heads, clipped queries, keys and values, and YaRN (OLMoE).
ModelConfig odd_clipped_config();
/// The same with latent attention, query compression, YaRN, shared experts and routing by groups (DeepSeek-V3).
ModelConfig odd_latent_config();

}  // namespace moebius::test
