// SPDX-License-Identifier: Apache-2.0
// The loading half of AttentionStack: reads what an attention rank holds, and counts it.
#include "base/check.hpp"
#include "model/attention_stack.hpp"
#include "model/weights.hpp"

namespace moebius::model {

AttentionStack::AttentionStack(const ModelConfig& config, ComputeType compute, const TensorLookup& tensors, int max_batch_tokens)
    : config_(config),
      compute_(compute),
      max_batch_tokens_(max_batch_tokens),
      kv_layout_(model::kv_layout(config, compute)),
      rope_(config.head_dim, config.rope_theta, config.max_position_embeddings) {
  MOEBIUS_EXPECT(max_batch_tokens > 0);
  MOEBIUS_EXPECT(config.moe_layer.size() == static_cast<std::size_t>(config.num_layers));
  MOEBIUS_EXPECT(config.num_kv_heads > 0 && config.num_heads % config.num_kv_heads == 0 && config.head_dim % 2 == 0);
  WeightReader reader(tensors, compute, arena_);
  const int hidden = config.hidden_size, head_dim = config.head_dim;
  const std::string embedding = "model.embed_tokens.weight";
  embedding_ = reader.rows(embedding, config.vocab_size, hidden);
  for (int l = 0; l < config.num_layers; ++l) {
    const std::string prefix = layer_prefix(LayerId(l)), attention = prefix + "self_attn.";
    Layer& layer = layers_.emplace_back();
    layer.input_norm = reader.vector(prefix + "input_layernorm.weight", hidden);
    layer.post_attention_norm = reader.vector(prefix + "post_attention_layernorm.weight", hidden);
    layer.q_norm = reader.vector(attention + "q_norm.weight", head_dim);
    layer.k_norm = reader.vector(attention + "k_norm.weight", head_dim);
    layer.qkv = reader.stacked({{attention + "q_proj.weight", q_width()},
                                {attention + "k_proj.weight", kv_width()},
                                {attention + "v_proj.weight", kv_width()}},
                               hidden);
    layer.o_proj = reader.matrix(attention + "o_proj.weight", hidden, q_width());
    if (config.is_moe(LayerId(l))) {
      layer.router = reader.matrix(prefix + "mlp.gate.weight", config.num_experts, hidden, ComputeType::fp32);
    } else {
      layer.dense = reader.ffn(prefix + "mlp.", config.intermediate_size, hidden);
    }
  }
  final_norm_ = reader.vector("model.norm.weight", hidden);
  lm_head_ = reader.matrix(config.tie_word_embeddings ? embedding : "lm_head.weight", config.vocab_size, hidden);
  allocate_scratch();
}

std::size_t AttentionStack::weight_bytes() const {
  std::size_t bytes = rope_.bytes() + embedding_.size() + lm_head_.bytes() + final_norm_.size() * sizeof(float);
  for (const Layer& layer : layers_) {
    const std::size_t num_norm =
        layer.input_norm.size() + layer.post_attention_norm.size() + layer.q_norm.size() + layer.k_norm.size();
    bytes += num_norm * sizeof(float) + layer.qkv.bytes() + layer.o_proj.bytes() + layer.router.bytes() + layer.dense.bytes();
  }
  return bytes;
}

std::size_t AttentionStack::weight_bytes(const ModelConfig& config, ComputeType compute) {
  using kernels::packed_bytes;
  const int hidden = config.hidden_size, q_width = config.num_heads * config.head_dim;
  const int qkv_width = q_width + 2 * config.num_kv_heads * config.head_dim;
  const auto floats = [](int count) { return static_cast<std::size_t>(count) * sizeof(float); };
  const std::size_t vocab = static_cast<std::size_t>(config.vocab_size), row_bytes = static_cast<std::size_t>(hidden) * element_bytes(compute);
  std::size_t bytes = vocab * row_bytes + packed_bytes(compute, config.vocab_size, hidden) + floats(hidden);
  bytes += static_cast<std::size_t>(config.max_position_embeddings) * floats(config.head_dim);
  for (int l = 0; l < config.num_layers; ++l) {
    bytes += floats(2 * hidden + 2 * config.head_dim) + packed_bytes(compute, qkv_width, hidden) +
             packed_bytes(compute, hidden, q_width);
    bytes += config.is_moe(LayerId(l)) ? packed_bytes(ComputeType::fp32, config.num_experts, hidden)
                                       : ffn_bytes(compute, config.intermediate_size, hidden);
  }
  return bytes;
}

}  // namespace moebius::model
