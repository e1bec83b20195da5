// SPDX-License-Identifier: Apache-2.0
#pragma once
// The checkpoints of tests/data/goldens/models with the results that transformers computed from them in
// float64 (see the README there).

#include <string>
#include <vector>

#include "base/model_config.hpp"
#include "io/safetensors.hpp"

namespace moebius::test {

struct GoldenPrompt {
  std::vector<TokenId> token_ids;
  std::vector<float> logits;               // [tokens, vocab_size]
  std::vector<float> token_logprobs;       // [tokens - 1]
  std::vector<std::vector<float>> hidden;  // [num_layers + 1][tokens * hidden_size]
  std::vector<TokenId> greedy_token_ids;   // [24]
  float greedy_margin = 0;                 ///< smallest gap between best and second logit on the way
};

struct GoldenModel {
  std::string name;
  ModelConfig config;
  io::Checkpoint checkpoint;
  TensorLookup tensors;  ///< of the checkpoint
  std::vector<GoldenPrompt> prompts;
  double float32_max_abs_logit_error = 0;  ///< of transformers' own float32 run
};

/// One of golden_model_names.
GoldenModel load_golden_model(const std::string& name);
inline const std::vector<std::string> golden_model_names{"mixtral", "qwen2_moe",   "qwen3_moe",        "qwen3_moe_tied",
                                                      "olmoe",   "deepseek_v2", "deepseek_v2_yarn", "deepseek_v3"};

}  // namespace moebius::test
