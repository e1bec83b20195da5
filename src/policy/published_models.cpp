// SPDX-License-Identifier: Apache-2.0
// Sizes of published models, from their config.json, for slow motion: only what stage times are made of.
#include "base/check.hpp"
#include "policy/device_model.hpp"

namespace moebius::policy {
namespace {

struct Shape {
  int hidden, layers, dense_layers, experts, top_k, width, dense_width, vocab;
};

ModelConfig config_of(const Shape& shape) {
  ModelConfig config;
  config.hidden_size = shape.hidden;
  config.num_layers = shape.layers;
  config.num_experts = shape.experts;
  config.experts_per_token = shape.top_k;
  config.moe_intermediate_size = shape.width;
  config.intermediate_size = shape.dense_width;
  config.vocab_size = shape.vocab;
  config.moe_layer.assign(static_cast<std::size_t>(shape.layers), 1);
  for (int layer = 0; layer < shape.dense_layers; ++layer) config.moe_layer[static_cast<std::size_t>(layer)] = 0;
  return config;
}

ModelSizes grouped_query(const char* name, const Shape& shape, int num_heads, int num_kv_heads) {
  ModelSizes sizes{.name = name, .config = config_of(shape)};
  sizes.config.model_type = "qwen3_moe";  // tensors of the same sizes in all of these
  sizes.config.num_heads = num_heads;
  sizes.config.num_kv_heads = num_kv_heads;
  sizes.config.head_dim = 128;
  return sizes;
}

/// DeepSeek: the same latent sizes in all of its models.
ModelSizes latent(const char* name, const Shape& shape, int num_heads, int q_lora_rank, int shared_width) {
  ModelSizes sizes{.name = name, .config = config_of(shape)};
  sizes.config.model_type = "deepseek_v3";
  sizes.config.num_heads = sizes.config.num_kv_heads = num_heads;
  sizes.config.q_lora_rank = q_lora_rank;
  sizes.config.kv_lora_rank = 512;
  sizes.config.qk_nope_head_dim = 128;
  sizes.config.qk_rope_head_dim = 64;
  sizes.config.head_dim = 192;
  sizes.config.v_head_dim = 128;
  sizes.config.shared_intermediate_size = shared_width;
  return sizes;
}

}  // namespace

ModelSizes published_model(EmulatedModel model) {
  using enum EmulatedModel;
  switch (model) {
    case mixtral_8x7b:  // mistralai/Mixtral-8x7B-v0.1
      return grouped_query("Mixtral-8x7B", {4096, 32, 0, 8, 2, 14336, 14336, 32000}, 32, 8);
    case qwen3_30b_a3b:  // Qwen/Qwen3-30B-A3B
      return grouped_query("Qwen3-30B-A3B", {2048, 48, 0, 128, 8, 768, 6144, 151936}, 32, 4);
    case qwen3_235b_a22b:  // Qwen/Qwen3-235B-A22B
      return grouped_query("Qwen3-235B-A22B", {4096, 94, 0, 128, 8, 1536, 12288, 151936}, 64, 4);
    case deepseek_v2_lite:  // deepseek-ai/DeepSeek-V2-Lite: two shared experts
      return latent("DeepSeek-V2-Lite", {2048, 27, 1, 64, 6, 1408, 10944, 102400}, 16, 0, 2816);
    case deepseek_v2:  // deepseek-ai/DeepSeek-V2: two shared experts
      return latent("DeepSeek-V2", {5120, 60, 1, 160, 6, 1536, 12288, 102400}, 128, 1536, 3072);
    case deepseek_v3: {  // deepseek-ai/DeepSeek-V3: FP8 weights, FP8 to the experts (arXiv 2412.19437, section 3.3); products as in bf16
      ModelSizes sizes = latent("DeepSeek-V3", {7168, 61, 3, 256, 8, 2048, 18432, 129280}, 128, 1536, 2048);
      sizes.weight_bytes = sizes.hidden_bytes = 1;
      return sizes;
    }
    case own: break;
  }
  MOEBIUS_EXPECT(!"the own sizes are in the checkpoint");
  return {};
}

}  // namespace moebius::policy
