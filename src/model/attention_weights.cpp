// SPDX-License-Identifier: Apache-2.0
#include "model/attention_weights.hpp"

#include <algorithm>
#include <initializer_list>
#include <numeric>

#include "base/check.hpp"
#include "model/family.hpp"

namespace moebius::model {
namespace {

using Layer = AttentionWeights::Layer;
using Schema = std::vector<TensorSpec>;
using Part = WeightReader::Part;

const TensorSpec& tensor_of(const Schema& schema, TensorRole role) {
  const TensorSpec* tensor = find_tensor(schema, role);
  MOEBIUS_EXPECT(tensor != nullptr);
  return *tensor;
}

std::span<const float> vector_of(WeightReader& reader, const Schema& schema, TensorRole role) {
  const TensorSpec* tensor = find_tensor(schema, role);
  if (tensor == nullptr) return {};
  return reader.vector(tensor->name, static_cast<int>(tensor->shape[0]));
}

Part part_of(const TensorSpec& tensor, std::vector<int> rows = {}) {
  return {.name = tensor.name, .num_rows = static_cast<int>(tensor.shape[0]), .rows = std::move(rows)};
}

/// The order of `num_rows` rows in which, at the end of each run of `run` rows, the last rope_dim ones come as
/// 0, 2, 4, ... and then 1, 3, 5, ...: where a checkpoint has the two numbers of a turning pair side by side,
/// apply_rope wants them half a head apart. Queries and keys change alike, so no score changes. Empty (as they
/// are) where the checkpoint has them apart.
std::vector<int> pairs_apart(const ModelConfig& config, int num_rows, int run) {
  if (!config.rope_interleaved) return {};
  std::vector<int> rows(static_cast<std::size_t>(num_rows));
  std::iota(rows.begin(), rows.end(), 0);
  const int half = config.qk_rope_head_dim / 2;
  for (int first = run - 2 * half; first < num_rows; first += run) {
    for (int i = 0; i < half; ++i) {
      rows[static_cast<std::size_t>(first + i)] = first + 2 * i;
      rows[static_cast<std::size_t>(first + half + i)] = first + 2 * i + 1;
    }
  }
  return rows;
}

/// One head's part of kv_b_proj is [key rows, then value rows][kv_lora_rank]; its key rows, transposed.
std::vector<float> transposed_keys(const std::vector<float>& kv_b, const ModelConfig& config, int head) {
  const auto rank = static_cast<std::size_t>(config.kv_lora_rank), nope = static_cast<std::size_t>(config.qk_nope_head_dim);
  const float* keys = kv_b.data() + static_cast<std::size_t>(head) * (nope + static_cast<std::size_t>(config.v_head_dim)) * rank;
  std::vector<float> transposed(rank * nope);
  for (std::size_t i = 0; i < nope; ++i) {
    for (std::size_t j = 0; j < rank; ++j) transposed[j * nope + i] = keys[i * rank + j];
  }
  return transposed;
}

std::vector<float> value_rows(const std::vector<float>& kv_b, const ModelConfig& config, int head) {
  const auto rank = static_cast<std::ptrdiff_t>(config.kv_lora_rank);
  const auto values = kv_b.begin() + (head * (config.qk_nope_head_dim + config.v_head_dim) + config.qk_nope_head_dim) * rank;
  return {values, values + config.v_head_dim * rank};
}

void load_grouped_attention(const ModelConfig& config, WeightReader& reader, const Schema& schema, Layer& layer) {
  using enum TensorRole;
  layer.q_norm = vector_of(reader, schema, q_norm);
  layer.k_norm = vector_of(reader, schema, k_norm);
  layer.projections = reader.stacked({part_of(tensor_of(schema, q_proj)), part_of(tensor_of(schema, k_proj)), part_of(tensor_of(schema, v_proj))},
                                     config.hidden_size);
  if (!config.qkv_bias) return;
  layer.qkv_bias = reader.computed_vector(layer.projections.num_out(), [&] {
    std::vector<float> biases;
    for (const TensorRole role : {q_bias, k_bias, v_bias}) {
      const std::vector<float> values = reader.values(tensor_of(schema, role).name, tensor_of(schema, role).shape);
      biases.insert(biases.end(), values.begin(), values.end());
    }
    return biases;
  });
}

void load_latent_attention(const ModelConfig& config, WeightReader& reader, const Schema& schema, Layer& layer) {
  using enum TensorRole;
  const TensorSpec& keys = tensor_of(schema, kv_a_proj);
  const int num_key_rows = static_cast<int>(keys.shape[0]), q_width = config.num_heads * config.head_dim;
  const Part key_part = part_of(keys, pairs_apart(config, num_key_rows, num_key_rows));
  const std::vector<int> query_rows = pairs_apart(config, q_width, config.head_dim);
  if (config.q_lora_rank > 0) {
    layer.projections = reader.stacked({part_of(tensor_of(schema, q_a_proj)), key_part}, config.hidden_size);
    layer.q_norm = vector_of(reader, schema, q_a_norm);
    layer.q_b = reader.stacked({part_of(tensor_of(schema, q_b_proj), query_rows)}, config.q_lora_rank);
  } else {
    layer.projections = reader.stacked({part_of(tensor_of(schema, q_proj), query_rows), key_part}, config.hidden_size);
  }
  layer.k_norm = vector_of(reader, schema, kv_a_norm);
  const TensorSpec& tensor = tensor_of(schema, kv_b_proj);
  reader.as_one([&] {  // all heads are cut from one tensor
    std::vector<float> kv_b;  // read when the first head is made
    const auto read = [&]() -> const std::vector<float>& {
      if (kv_b.empty()) kv_b = reader.values(tensor.name, tensor.shape);
      return kv_b;
    };
    for (int head = 0; head < config.num_heads; ++head) {
      layer.key_up.push_back(reader.computed(reader.compute(), config.kv_lora_rank, config.qk_nope_head_dim,
                                             [&] { return transposed_keys(read(), config, head); }));
      layer.value_up.push_back(reader.computed(reader.compute(), config.v_head_dim, config.kv_lora_rank,
                                               [&] { return value_rows(read(), config, head); }));
    }
  });
}

Layer load_layer(const ModelConfig& config, WeightReader& reader, LayerId layer_id) {
  using enum TensorRole;
  const Schema schema = layer_schema(config, layer_id);
  const auto tensor = [&](TensorRole role) -> const TensorSpec& { return tensor_of(schema, role); };
  Layer layer;
  layer.input_norm = vector_of(reader, schema, input_norm);
  layer.post_attention_norm = vector_of(reader, schema, post_attention_norm);
  (config.is_mla() ? load_latent_attention : load_grouped_attention)(config, reader, schema, layer);
  layer.o_proj = reader.matrix(tensor(o_proj));
  if (!config.is_moe(layer_id)) {
    layer.dense = {.gate = reader.matrix(tensor(dense_gate)), .up = reader.matrix(tensor(dense_up)), .down = reader.matrix(tensor(dense_down))};
    return layer;
  }
  layer.router = reader.matrix(tensor(router), ComputeType::fp32);
  layer.router_bias = vector_of(reader, schema, router_bias);
  if (config.shared_intermediate_size > 0) {
    layer.dense = {.gate = reader.matrix(tensor(shared_gate)), .up = reader.matrix(tensor(shared_up)), .down = reader.matrix(tensor(shared_down))};
    if (config.shared_expert_gate) layer.shared_gate = reader.matrix(tensor(shared_expert_gate), ComputeType::fp32);
  }
  return layer;
}

}  // namespace

AttentionWeights load_attention_weights(const ModelConfig& config, WeightReader& reader) {
  const Schema outer = outer_schema(config);
  const TensorSpec& embedding = tensor_of(outer, TensorRole::embedding);
  AttentionWeights weights;
  if (!config.tie_word_embeddings) weights.embedding = reader.rows(embedding.name, config.vocab_size, config.hidden_size);
  for (int l = 0; l < config.num_layers; ++l) weights.layers.push_back(load_layer(config, reader, LayerId(l)));
  weights.final_norm = vector_of(reader, outer, TensorRole::final_norm);
  weights.lm_head = reader.matrix(config.tie_word_embeddings ? embedding : tensor_of(outer, TensorRole::lm_head));
  return weights;
}

}  // namespace moebius::model
