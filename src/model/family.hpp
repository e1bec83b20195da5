// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a checkpoint of a model contains: every tensor with its published name, its shape and its meaning,
// derived from ModelConfig and the table of base/model_family.hpp. Loading, plans and whoever writes a
// checkpoint read this one list. Other tensors of a file (multi-token prediction layers, say) are not used.

#include <cstdint>
#include <string>
#include <vector>

#include "base/model_config.hpp"

namespace moebius::model {

enum class TensorRole : std::uint8_t {
  // once in a model
  embedding,   // [vocab_size, hidden_size]
  final_norm,  // [hidden_size]
  lm_head,     // [vocab_size, hidden_size]; absent where it is tied to the embedding
  // once in a layer
  input_norm, post_attention_norm,  // [hidden_size]
  o_proj,                           // [hidden_size, num_heads * head_dim or v_head_dim]
  // of grouped-query attention
  q_proj,                  // [num_heads * head_dim, hidden_size]; in latent attention too, without compression
  k_proj, v_proj,          // [num_kv_heads * head_dim, hidden_size]
  q_bias, k_bias, v_bias,  // as many numbers as rows of the matrix
  q_norm, k_norm,          // [head_dim], or as many as rows of the matrix
  // of latent attention
  q_a_proj,   // [q_lora_rank, hidden_size]
  q_a_norm,   // [q_lora_rank]
  q_b_proj,   // [num_heads * head_dim, q_lora_rank]
  kv_a_proj,  // [kv_lora_rank + qk_rope_head_dim, hidden_size]
  kv_a_norm,  // [kv_lora_rank]
  kv_b_proj,  // [num_heads * (qk_nope_head_dim + v_head_dim), kv_lora_rank]
  // of a dense layer
  dense_gate, dense_up, dense_down,  // [intermediate_size, hidden_size] twice, [hidden_size, intermediate_size]
  // of a layer with experts
  router,                               // [num_experts, hidden_size]
  router_bias,                          // [num_experts]
  shared_gate, shared_up, shared_down,  // as dense_*, of shared_intermediate_size
  shared_expert_gate,                   // [1, hidden_size]
  expert_gate, expert_up, expert_down,  // as dense_*, of moe_intermediate_size; once for each expert
};

struct TensorSpec {
  std::string name;
  std::vector<std::int64_t> shape;
  TensorRole role;
  LayerId layer;    ///< invalid where it belongs to no layer
  ExpertId expert;  ///< invalid where it belongs to no routed expert
};

/// Every tensor of the model: first those that belong to no layer, then layer by layer, experts last.
std::vector<TensorSpec> checkpoint_schema(const ModelConfig& config);
/// Those of one layer without its routed experts.
std::vector<TensorSpec> layer_schema(const ModelConfig& config, LayerId layer);
/// Those of one routed expert: gate, up, down.
std::vector<TensorSpec> expert_schema(const ModelConfig& config, LayerId layer, ExpertId expert);
/// Those that belong to no layer.
std::vector<TensorSpec> outer_schema(const ModelConfig& config);

/// The tensor of that role, nullptr where there is none. The first one where there are several.
const TensorSpec* find_tensor(const std::vector<TensorSpec>& schema, TensorRole role);

}  // namespace moebius::model
