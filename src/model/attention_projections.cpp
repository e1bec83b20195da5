// SPDX-License-Identifier: Apache-2.0
// What AttentionStack makes of hidden states before they attend, and of mixed values after: for grouped-query
// attention, and for latent attention (MLA, DeepSeek-V2, arXiv 2405.04434 section 2.1) in its absorbed form,
// where queries are brought to the compressed keys (q_nope W_UK) instead of keys to the queries, and values are
// lifted after the mixing (W_UV). Per position the cache then holds kv_lora_rank + qk_rope_head_dim numbers.
#include <algorithm>

#include "base/check.hpp"
#include "kernels/norm.hpp"
#include "model/attention_stack.hpp"

namespace moebius::model {
namespace {

/// The norms inside latent attention keep the default epsilon of DeepseekV2RMSNorm whatever config.json says.
constexpr float latent_norm_eps = 1e-6F;

}  // namespace

int AttentionStack::projection_width() const {
  if (!config_.is_mla()) return q_width() + 2 * kv_width();
  return (config_.q_lora_rank > 0 ? config_.q_lora_rank : q_width()) + kv_layout_.key_dim;
}

AttentionStack::Projected AttentionStack::project(const Layer& layer, std::span<const int> positions) {
  const auto num_rows = static_cast<int>(positions.size());
  kernels::gemm(layer.projections, to_inputs(normed_, positions.size(), config_.hidden_size), num_rows, projected_.data(),
                projection_width());
  return config_.is_mla() ? latent_projections(layer, positions) : grouped_projections(layer, positions);
}

AttentionStack::Projected AttentionStack::grouped_projections(const Layer& layer, std::span<const int> positions) {
  const auto num_rows = static_cast<int>(positions.size());
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  const std::int64_t stride = projection_width();
  float* const queries = projected_.data();
  float* const keys = queries + q_width();
  // Queries and keys lie side by side: heads 0..num_heads-1, then the kv heads.
  const int num_turning = config_.num_heads + config_.num_kv_heads;
  if (!layer.qkv_bias.empty()) {
    for (int row = 0; row < num_rows; ++row) {
      float* values = queries + row * stride;
      for (std::size_t i = 0; i < layer.qkv_bias.size(); ++i) values[i] += layer.qkv_bias[i];
    }
  }
  if (config_.qk_norm == QkNorm::all_heads) {
    kernels::rms_norm(queries, stride, layer.q_norm, eps, num_rows, queries, stride);
    kernels::rms_norm(keys, stride, layer.k_norm, eps, num_rows, keys, stride);
  }
  for (int head = 0; config_.qk_norm == QkNorm::each_head && head < num_turning; ++head) {
    float* first = queries + std::int64_t{head} * config_.head_dim;
    kernels::rms_norm(first, stride, head < config_.num_heads ? layer.q_norm : layer.k_norm, eps, num_rows, first, stride);
  }
  if (config_.clip_qkv > 0) {
    const auto limit = static_cast<float>(config_.clip_qkv);
    for (float& value : std::span(queries, static_cast<std::size_t>(num_rows * stride))) value = std::clamp(value, -limit, limit);
  }
  kernels::apply_rope(rope_, positions, {.x = queries, .num_heads = num_turning, .head_stride = config_.head_dim, .row_stride = stride});
  return {.q = queries, .q_stride = stride, .k = keys, .v = keys + kv_width(), .kv_stride = stride};
}

AttentionStack::Projected AttentionStack::latent_projections(const Layer& layer, std::span<const int> positions) {
  const auto num_rows = static_cast<int>(positions.size());
  const int rank = config_.kv_lora_rank, head_dim = config_.head_dim, nope = config_.qk_nope_head_dim;
  const std::int64_t key_dim = kv_layout_.key_dim, absorbed_stride = config_.num_heads * key_dim;
  std::int64_t stride = projection_width();
  float* const keys = projected_.data() + stride - key_dim;
  kernels::rms_norm(keys, stride, layer.k_norm, latent_norm_eps, num_rows, keys, stride);
  kernels::apply_rope(rope_, positions, {.x = keys + rank, .num_heads = 1, .head_stride = 0, .row_stride = stride});
  const Projected result{.q = absorbed_.data(), .q_stride = absorbed_stride, .k = keys, .v = keys, .kv_stride = stride};

  const std::vector<float>* queries = &projected_;  // rows that begin with the heads' queries
  if (config_.q_lora_rank > 0) {
    kernels::rms_norm(projected_.data(), stride, layer.q_norm, latent_norm_eps, num_rows, compressed_.data(), config_.q_lora_rank);
    kernels::gemm(layer.q_b, to_inputs(compressed_, positions.size(), config_.q_lora_rank), num_rows, queries_of_heads_.data(), q_width());
    queries = &queries_of_heads_;
    stride = q_width();
  }
  const kernels::RowsView inputs = to_inputs(*queries, positions.size(), static_cast<int>(stride));
  for (int head = 0; head < config_.num_heads; ++head) {
    const std::int64_t begin = std::int64_t{head} * head_dim;
    float* const absorbed = absorbed_.data() + head * key_dim;
    kernels::RowsView of_head = inputs;
    of_head.data += static_cast<std::size_t>(begin) * element_bytes(compute_);
    kernels::gemm(layer.key_up[static_cast<std::size_t>(head)], of_head, num_rows, absorbed, absorbed_stride);
    for (int row = 0; row < num_rows; ++row) {
      std::copy_n(queries->data() + row * stride + begin + nope, config_.qk_rope_head_dim, absorbed + row * absorbed_stride + rank);
    }
  }
  kernels::apply_rope(rope_, positions,
                      {.x = absorbed_.data() + rank, .num_heads = config_.num_heads, .head_stride = key_dim, .row_stride = absorbed_stride});
  return result;
}

const std::vector<float>& AttentionStack::lift_values(const Layer& layer, std::size_t num_rows) {
  if (!config_.is_mla()) return mixed_;
  const kernels::RowsView inputs = to_inputs(mixed_, num_rows, config_.num_heads * kv_layout_.value_dim);
  for (int head = 0; head < config_.num_heads; ++head) {
    kernels::RowsView of_head = inputs;
    of_head.data += static_cast<std::size_t>(head) * static_cast<std::size_t>(kv_layout_.value_dim) * element_bytes(compute_);
    kernels::gemm(layer.value_up[static_cast<std::size_t>(head)], of_head, static_cast<int>(num_rows),
                  lifted_.data() + std::int64_t{head} * config_.v_head_dim, out_width());
  }
  return lifted_;
}

}  // namespace moebius::model
