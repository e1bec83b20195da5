// SPDX-License-Identifier: Apache-2.0
#pragma once
// All weights that an attention rank holds: everything but the routed experts. Views into an arena; loading
// only places and fills them, nothing is computed from them here (see WeightReader).

#include <span>
#include <vector>

#include "base/model_config.hpp"
#include "kernels/ffn.hpp"
#include "kernels/gemm.hpp"
#include "model/weights.hpp"

namespace moebius::model {

struct AttentionWeights {
  struct Layer {
    std::span<const float> input_norm, post_attention_norm;  // [hidden_size]
    std::span<const float> q_norm, k_norm;                   // [head_dim]
    kernels::PackedMatrix qkv;     // [(num_heads + 2 num_kv_heads) head_dim, hidden_size]: q_proj, k_proj, v_proj
    kernels::PackedMatrix o_proj;  // [hidden_size, num_heads head_dim]
    kernels::PackedMatrix router;  // [num_experts, hidden_size] fp32; empty in a dense layer
    kernels::ExpertFfn dense;      // empty in a layer with routed experts
  };
  std::span<const std::byte> embedding;  // [vocab_size, hidden_size] compute type; empty where it is the LM head too
  std::vector<Layer> layers;             // [num_layers]
  std::span<const float> final_norm;     // [hidden_size]
  kernels::PackedMatrix lm_head;         // [vocab_size, hidden_size]
};

/// Reads, or only counts, in a fixed order. Throws Failure{unreadable_input}.
AttentionWeights load_attention_weights(const ModelConfig& config, WeightReader& reader);

}  // namespace moebius::model
