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
    /// [head_dim], or [heads head_dim], or, latent, [q_lora_rank] and [kv_lora_rank]; empty where there is none.
    std::span<const float> q_norm, k_norm;
    std::span<const float> qkv_bias;  // [projection_width]; empty where there is none
    /// q_proj, k_proj, v_proj; latent: q_a_proj or q_proj, then kv_a_proj. // [projection_width, hidden_size]
    kernels::PackedMatrix projections;
    kernels::PackedMatrix q_b;                    // [num_heads head_dim, q_lora_rank]; latent
    std::vector<kernels::PackedMatrix> key_up;    // [num_heads] of [kv_lora_rank, qk_nope_head_dim]; latent
    std::vector<kernels::PackedMatrix> value_up;  // [num_heads] of [v_head_dim, kv_lora_rank]; latent
    kernels::PackedMatrix o_proj;                 // [hidden_size, num_heads head_dim or v_head_dim]
    kernels::PackedMatrix router;                 // [num_experts, hidden_size] fp32; empty in a dense layer
    std::span<const float> router_bias;           // [num_experts]; empty where there is none
    kernels::ExpertFfn dense;                     // of a dense layer, or the shared experts
    kernels::PackedMatrix shared_gate;            // [1, hidden_size] fp32; empty where there is none
  };
  std::span<const std::byte> embedding;  // [vocab_size, hidden_size] compute type; empty where it is the LM head too
  std::vector<Layer> layers;             // [num_layers]
  std::span<const float> final_norm;     // [hidden_size]
  kernels::PackedMatrix lm_head;         // [vocab_size, hidden_size]
};

/// Reads, or only counts, in a fixed order. Throws Failure{unreadable_input}.
AttentionWeights load_attention_weights(const ModelConfig& config, WeightReader& reader);

}  // namespace moebius::model
