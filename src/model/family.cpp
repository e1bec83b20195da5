// SPDX-License-Identifier: Apache-2.0
#include "model/family.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "base/check.hpp"
#include "base/model_family.hpp"

namespace moebius::model {
namespace {

using Shape = std::vector<std::int64_t>;

const ModelFamily& family_of(const ModelConfig& config) {
  const ModelFamily* family = find_model_family(config.model_type);
  MOEBIUS_EXPECT(family != nullptr);
  return *family;
}

/// Adds tensors whose names begin alike.
class Lister {
 public:
  Lister(std::vector<TensorSpec>& list, std::string prefix, LayerId layer, ExpertId expert = {})
      : list_(list), prefix_(std::move(prefix)), layer_(layer), expert_(expert) {}

  void weight(TensorRole role, std::string_view name, Shape shape) { add(role, fmt::format("{}.weight", name), std::move(shape)); }
  void add(TensorRole role, std::string_view name, Shape shape) {
    list_.push_back({.name = fmt::format("{}{}", prefix_, name), .shape = std::move(shape), .role = role, .layer = layer_, .expert = expert_});
  }

 private:
  std::vector<TensorSpec>& list_;
  std::string prefix_;
  LayerId layer_;
  ExpertId expert_;
};

void list_grouped_attention(const ModelConfig& config, Lister& list) {
  const std::int64_t hidden = config.hidden_size, q_width = std::int64_t{config.num_heads} * config.head_dim;
  const std::int64_t kv_width = std::int64_t{config.num_kv_heads} * config.head_dim;
  list.weight(TensorRole::q_proj, "q_proj", {q_width, hidden});
  list.weight(TensorRole::k_proj, "k_proj", {kv_width, hidden});
  list.weight(TensorRole::v_proj, "v_proj", {kv_width, hidden});
  if (config.qkv_bias) {
    list.add(TensorRole::q_bias, "q_proj.bias", {q_width});
    list.add(TensorRole::k_bias, "k_proj.bias", {kv_width});
    list.add(TensorRole::v_bias, "v_proj.bias", {kv_width});
  }
  if (config.qk_norm != QkNorm::none) {
    const bool each = config.qk_norm == QkNorm::each_head;
    list.weight(TensorRole::q_norm, "q_norm", {each ? config.head_dim : q_width});
    list.weight(TensorRole::k_norm, "k_norm", {each ? config.head_dim : kv_width});
  }
  list.weight(TensorRole::o_proj, "o_proj", {hidden, q_width});
}

void list_latent_attention(const ModelConfig& config, Lister& list) {
  const std::int64_t hidden = config.hidden_size, num_heads = config.num_heads;
  const std::int64_t q_width = num_heads * config.head_dim, q_rank = config.q_lora_rank, kv_rank = config.kv_lora_rank;
  if (q_rank == 0) {
    list.weight(TensorRole::q_proj, "q_proj", {q_width, hidden});
  } else {
    list.weight(TensorRole::q_a_proj, "q_a_proj", {q_rank, hidden});
    list.weight(TensorRole::q_a_norm, "q_a_layernorm", {q_rank});
    list.weight(TensorRole::q_b_proj, "q_b_proj", {q_width, q_rank});
  }
  list.weight(TensorRole::kv_a_proj, "kv_a_proj_with_mqa", {kv_rank + config.qk_rope_head_dim, hidden});
  list.weight(TensorRole::kv_a_norm, "kv_a_layernorm", {kv_rank});
  list.weight(TensorRole::kv_b_proj, "kv_b_proj", {num_heads * (config.qk_nope_head_dim + config.v_head_dim), kv_rank});
  list.weight(TensorRole::o_proj, "o_proj", {hidden, num_heads * config.v_head_dim});
}

std::string layer_name(LayerId layer) { return fmt::format("model.layers.{}.", layer.value); }

}  // namespace

std::vector<TensorSpec> outer_schema(const ModelConfig& config) {
  std::vector<TensorSpec> schema;
  Lister list(schema, "", {});
  list.weight(TensorRole::embedding, "model.embed_tokens", {config.vocab_size, config.hidden_size});
  list.weight(TensorRole::final_norm, "model.norm", {config.hidden_size});
  if (!config.tie_word_embeddings) list.weight(TensorRole::lm_head, "lm_head", {config.vocab_size, config.hidden_size});
  return schema;
}

std::vector<TensorSpec> layer_schema(const ModelConfig& config, LayerId layer) {
  const ModelFamily& family = family_of(config);
  const std::int64_t hidden = config.hidden_size, dense = config.intermediate_size, shared = config.shared_intermediate_size;
  std::vector<TensorSpec> schema;
  Lister of_layer(schema, layer_name(layer), layer);
  of_layer.weight(TensorRole::input_norm, "input_layernorm", {hidden});
  of_layer.weight(TensorRole::post_attention_norm, "post_attention_layernorm", {hidden});
  Lister attention(schema, layer_name(layer) + "self_attn.", layer);
  (config.is_mla() ? list_latent_attention : list_grouped_attention)(config, attention);
  if (!config.is_moe(layer)) {
    Lister mlp(schema, layer_name(layer) + "mlp.", layer);
    mlp.weight(TensorRole::dense_gate, "gate_proj", {dense, hidden});
    mlp.weight(TensorRole::dense_up, "up_proj", {dense, hidden});
    mlp.weight(TensorRole::dense_down, "down_proj", {hidden, dense});
    return schema;
  }
  const std::string moe_name = fmt::format("{}{}", layer_name(layer), family.mlp);
  Lister moe(schema, moe_name, layer);
  moe.weight(TensorRole::router, "gate", {config.num_experts, hidden});
  if (config.router.correction_bias) moe.add(TensorRole::router_bias, "gate.e_score_correction_bias", {config.num_experts});
  if (shared > 0) {
    Lister expert(schema, fmt::format("{}{}", moe_name, family.shared_expert), layer);
    expert.weight(TensorRole::shared_gate, "gate_proj", {shared, hidden});
    expert.weight(TensorRole::shared_up, "up_proj", {shared, hidden});
    expert.weight(TensorRole::shared_down, "down_proj", {hidden, shared});
    if (config.shared_expert_gate) moe.weight(TensorRole::shared_expert_gate, "shared_expert_gate", {1, hidden});
  }
  return schema;
}

std::vector<TensorSpec> expert_schema(const ModelConfig& config, LayerId layer, ExpertId expert) {
  const ModelFamily& family = family_of(config);
  const std::int64_t hidden = config.hidden_size, width = config.moe_intermediate_size;
  std::vector<TensorSpec> schema;
  Lister list(schema, fmt::format("{}{}experts.{}.", layer_name(layer), family.mlp, expert.value), layer, expert);
  list.weight(TensorRole::expert_gate, family.gate_proj, {width, hidden});
  list.weight(TensorRole::expert_up, family.up_proj, {width, hidden});
  list.weight(TensorRole::expert_down, family.down_proj, {hidden, width});
  return schema;
}

std::vector<TensorSpec> checkpoint_schema(const ModelConfig& config) {
  std::vector<TensorSpec> schema = outer_schema(config);
  const auto append = [&](std::vector<TensorSpec> more) {
    std::ranges::move(more, std::back_inserter(schema));
  };
  for (LayerId layer(0); layer.value < config.num_layers; ++layer.value) {
    append(layer_schema(config, layer));
    if (!config.is_moe(layer)) continue;
    for (ExpertId expert(0); expert.value < config.num_experts; ++expert.value) append(expert_schema(config, layer, expert));
  }
  return schema;
}

const TensorSpec* find_tensor(const std::vector<TensorSpec>& schema, TensorRole role) {
  const auto found = std::ranges::find(schema, role, &TensorSpec::role);
  return found == schema.end() ? nullptr : &*found;
}

}  // namespace moebius::model
