// SPDX-License-Identifier: Apache-2.0
#pragma once
// The shape of a model, as read from config.json and generation_config.json by `io`.

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.hpp"

namespace moebius {

/// How numbers are stored and multiplied: fp32, or bf16 with fp32 accumulation.
enum class ComputeType : std::uint8_t { fp32, bf16 };
const char* to_string(ComputeType type);
/// Bytes of one stored element (weights, KV, hidden states on the wire).
constexpr std::size_t element_bytes(ComputeType type) { return type == ComputeType::bf16 ? 2 : 4; }

/// A decoder with grouped-query attention and routed experts. Sizes are those of config.json.
struct ModelConfig {
  std::string model_type;  ///< "qwen3_moe"
  int vocab_size = 0;
  int hidden_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;
  int intermediate_size = 0;      ///< of dense layers
  int moe_intermediate_size = 0;  ///< of one routed expert
  int num_experts = 0;
  int experts_per_token = 0;  ///< top-k
  bool norm_topk_prob = false;
  bool tie_word_embeddings = false;
  std::vector<std::uint8_t> moe_layer;  ///< [num_layers] 1: routed experts, 0: dense
  double rope_theta = 10000.0;
  double rms_norm_eps = 1e-6;
  int max_position_embeddings = 0;
  TokenId bos_token = -1;                ///< -1: none
  std::vector<TokenId> eos_tokens;       ///< any of them ends a generation

  [[nodiscard]] bool is_moe(LayerId layer) const { return moe_layer[layer.idx()] != 0; }
};

}  // namespace moebius
