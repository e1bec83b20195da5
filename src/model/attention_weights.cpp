// SPDX-License-Identifier: Apache-2.0
#include "model/attention_weights.hpp"

namespace moebius::model {

AttentionWeights load_attention_weights(const ModelConfig& config, WeightReader& reader) {
  const int hidden = config.hidden_size, head_dim = config.head_dim;
  const int q_width = config.num_heads * head_dim, kv_width = config.num_kv_heads * head_dim;
  const std::string embedding = "model.embed_tokens.weight";
  AttentionWeights weights;
  if (!config.tie_word_embeddings) weights.embedding = reader.rows(embedding, config.vocab_size, hidden);
  for (int l = 0; l < config.num_layers; ++l) {
    const std::string prefix = layer_prefix(LayerId(l)), attention = prefix + "self_attn.";
    AttentionWeights::Layer& layer = weights.layers.emplace_back();
    layer.input_norm = reader.vector(prefix + "input_layernorm.weight", hidden);
    layer.post_attention_norm = reader.vector(prefix + "post_attention_layernorm.weight", hidden);
    layer.q_norm = reader.vector(attention + "q_norm.weight", head_dim);
    layer.k_norm = reader.vector(attention + "k_norm.weight", head_dim);
    layer.qkv = reader.stacked({{attention + "q_proj.weight", q_width},
                                {attention + "k_proj.weight", kv_width},
                                {attention + "v_proj.weight", kv_width}},
                               hidden);
    layer.o_proj = reader.matrix(attention + "o_proj.weight", hidden, q_width);
    if (config.is_moe(LayerId(l))) {
      layer.router = reader.matrix(prefix + "mlp.gate.weight", config.num_experts, hidden, ComputeType::fp32);
    } else {
      layer.dense = reader.ffn(prefix + "mlp.", config.intermediate_size, hidden);
    }
  }
  weights.final_norm = reader.vector("model.norm.weight", hidden);
  weights.lm_head = reader.matrix(config.tie_word_embeddings ? embedding : "lm_head.weight", config.vocab_size, hidden);
  return weights;
}

}  // namespace moebius::model
