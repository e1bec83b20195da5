// SPDX-License-Identifier: Apache-2.0
#include "model/attention_stack.hpp"

#include <algorithm>
#include <cmath>

#include "base/bf16.hpp"
#include "base/check.hpp"
#include "kernels/combine.hpp"
#include "kernels/norm.hpp"
#include "kernels/router.hpp"
#include "model/row_runs.hpp"

namespace moebius::model {
namespace {

/// Rows of one LM head product: enough that arithmetic and not the reading of weights sets the pace, few
/// enough that logits stay within 16 MiB where that leaves sixteen rows: never tokens x vocabulary.
int max_logit_rows(int vocab_size) { return std::clamp((4 << 20) / vocab_size, 16, 96); }

std::size_t product(int a, int b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

}  // namespace

AttentionStack::AttentionStack(const ModelConfig& config, ComputeType compute, const TensorLookup& tensors, int max_batch_tokens,
                               const WeightPlace& place)
    : config_(config),
      compute_(compute),
      max_batch_tokens_(max_batch_tokens),
      kv_layout_(model::kv_layout(config, compute)),
      rope_(config.head_dim, config.rope_theta, config.max_position_embeddings),
      arena_(place.memory.empty() ? WeightArena::owning(weight_bytes(config, compute)) : WeightArena::over(place.memory)) {
  MOEBIUS_EXPECT(max_batch_tokens > 0);
  MOEBIUS_EXPECT(config.moe_layer.size() == static_cast<std::size_t>(config.num_layers));
  MOEBIUS_EXPECT(config.num_kv_heads > 0 && config.num_heads % config.num_kv_heads == 0 && config.head_dim % 2 == 0);
  WeightReader reader(tensors, compute, arena_, place.share);
  weights_ = load_attention_weights(config, reader);
  allocate_scratch();
}

std::size_t AttentionStack::weight_bytes(const ModelConfig& config, ComputeType compute) {
  WeightArena counting = WeightArena::counting();
  WeightReader reader(compute, counting);
  (void)load_attention_weights(config, reader);
  return counting.used();
}

void AttentionStack::allocate_scratch() {
  const int tokens = max_batch_tokens_;
  normed_.resize(product(tokens, config_.hidden_size));
  update_.resize(product(tokens, config_.hidden_size));
  qkv_.resize(product(tokens, qkv_width()));
  mixed_.resize(product(tokens, q_width()));
  logits_.resize(product(std::min(tokens, max_logit_rows(config_.vocab_size)), config_.vocab_size));
  if (compute_ != ComputeType::fp32) {
    inputs_.resize(product(tokens, std::max(config_.hidden_size, q_width())) * element_bytes(compute_));
  }
  const auto num_moe = std::ranges::count_if(config_.moe_layer, [](std::uint8_t moe) { return moe != 0; });
  if (num_moe > 0) router_logits_.resize(product(tokens, config_.num_experts));
  if (num_moe < config_.num_layers) ffn_scratch_.reserve(tokens, config_.intermediate_size);
  queries_.reserve(static_cast<std::size_t>(tokens));
}

std::size_t AttentionStack::scratch_bytes() const {
  const std::size_t num_floats =
      normed_.size() + update_.size() + qkv_.size() + mixed_.size() + logits_.size() + router_logits_.size();
  return num_floats * sizeof(float) + inputs_.size() + ffn_scratch_.bytes() +
         block_pointers_.capacity() * sizeof(const std::byte*) + queries_.capacity() * sizeof(kernels::SegmentQueries);
}

void AttentionStack::embed(TokenStates& states, std::span<const std::int32_t> rows, std::span<const TokenId> tokens) const {
  MOEBIUS_EXPECT(rows.size() == tokens.size());
  const auto hidden = static_cast<std::size_t>(config_.hidden_size);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    MOEBIUS_EXPECT(tokens[i] >= 0 && tokens[i] < config_.vocab_size);
    const std::span<float> residual(states.residual(rows[i]), hidden);
    if (weights_.embedding.empty()) {
      kernels::unpack_row(weights_.lm_head, tokens[i], residual);
      continue;
    }
    const std::byte* row = weights_.embedding.data() + static_cast<std::size_t>(tokens[i]) * hidden * element_bytes(compute_);
    if (compute_ == ComputeType::fp32) {
      std::copy_n(reinterpret_cast<const float*>(row), hidden, residual.begin());
    } else {
      std::transform(reinterpret_cast<const Bf16*>(row), reinterpret_cast<const Bf16*>(row) + hidden, residual.begin(),
                     [](Bf16 x) { return to_float(x); });
    }
  }
}

void AttentionStack::normalise(std::span<const std::int32_t> rows, const TokenStates& states, std::span<const float> weight) {
  MOEBIUS_EXPECT(rows.size() <= static_cast<std::size_t>(max_batch_tokens_));
  const std::int64_t hidden = config_.hidden_size;
  for_each_run(rows, [&](std::size_t first, std::int32_t row, int num_rows) {
    kernels::rms_norm(states.residual(row), hidden, weight, static_cast<float>(config_.rms_norm_eps), num_rows,
                      normed_.data() + first * static_cast<std::size_t>(hidden), hidden);
  });
}

kernels::RowsView AttentionStack::to_inputs(const std::vector<float>& values, std::size_t num_rows, int width) {
  if (compute_ == ComputeType::fp32) {
    return {.type = compute_, .data = reinterpret_cast<const std::byte*>(values.data()), .row_stride = width};
  }
  kernels::convert_rows(compute_, std::span(values).first(num_rows * static_cast<std::size_t>(width)), inputs_.data());
  return {.type = compute_, .data = inputs_.data(), .row_stride = width};
}

void AttentionStack::make_qkv(const Layer& layer, std::span<const int> positions) {
  const auto num_rows = static_cast<int>(positions.size());
  const std::int64_t stride = qkv_width();
  kernels::gemm(layer.qkv, to_inputs(normed_, positions.size(), config_.hidden_size), num_rows, qkv_.data(), stride);
  // Queries and keys lie side by side: heads 0..num_heads-1, then the kv heads.
  const int num_normed = config_.num_heads + config_.num_kv_heads;
  for (int head = 0; head < num_normed; ++head) {
    float* first = qkv_.data() + product(head, config_.head_dim);
    kernels::rms_norm(first, stride, head < config_.num_heads ? layer.q_norm : layer.k_norm,
                      static_cast<float>(config_.rms_norm_eps), num_rows, first, stride);
  }
  kernels::apply_rope(rope_, positions, num_normed, qkv_.data(), stride);
}

void AttentionStack::store_kv(LayerId layer, const MicroBatch& batch, KvCache& kv) const {
  const float* row = qkv_.data();
  for (const SegmentRef& segment : batch.segments) {
    for (int i = 0; i < segment.num_tokens; ++i, row += qkv_width()) {
      const int position = segment.first_position + i;
      kernels::store_kv(kv_layout_, kv.block(*segment.table, position / KvCache::block_tokens, layer),
                        position % KvCache::block_tokens, row + q_width(), row + q_width() + kv_width());
    }
  }
}

void AttentionStack::mix(LayerId layer, const MicroBatch& batch, const KvCache& kv) {
  std::size_t num_pointers = 0;
  for (const SegmentRef& segment : batch.segments) {
    num_pointers += static_cast<std::size_t>(KvCache::blocks_for(segment.first_position + segment.num_tokens));
  }
  if (block_pointers_.size() < num_pointers) block_pointers_.resize(num_pointers);
  queries_.clear();
  const std::byte** pointers = block_pointers_.data();
  std::size_t row = 0;
  for (const SegmentRef& segment : batch.segments) {
    const int end = segment.first_position + segment.num_tokens;
    kv.block_pointers(*segment.table, layer, end, pointers);
    queries_.push_back({.q = qkv_.data() + row * static_cast<std::size_t>(qkv_width()),
                        .q_stride = qkv_width(),
                        .out = mixed_.data() + row * static_cast<std::size_t>(q_width()),
                        .out_stride = q_width(),
                        .blocks = pointers,
                        .first_position = segment.first_position,
                        .num_tokens = segment.num_tokens});
    pointers += KvCache::blocks_for(end);
    row += static_cast<std::size_t>(segment.num_tokens);
  }
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(config_.head_dim)));
  kernels::attention(kv_layout_, {.num_heads = config_.num_heads, .scale = scale}, queries_);
}

void AttentionStack::add_update(std::span<const std::int32_t> rows, TokenStates& states) const {
  const auto hidden = static_cast<std::size_t>(config_.hidden_size);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    float* residual = states.residual(rows[i]);
    const float* update = update_.data() + i * hidden;
    for (std::size_t j = 0; j < hidden; ++j) residual[j] += update[j];
  }
}

void AttentionStack::attend(LayerId layer_id, const MicroBatch& batch, TokenStates& states, KvCache& kv) {
  MOEBIUS_EXPECT(batch.rows.size() == batch.positions.size());
  std::size_t row = 0;
  for (const SegmentRef& segment : batch.segments) {
    MOEBIUS_EXPECT(segment.num_tokens > 0 && row + static_cast<std::size_t>(segment.num_tokens) <= batch.rows.size());
    for (int i = 0; i < segment.num_tokens; ++i, ++row) MOEBIUS_EXPECT(batch.positions[row] == segment.first_position + i);
  }
  MOEBIUS_EXPECT(row == batch.rows.size());
  const Layer& layer = weights_.layers.at(layer_id.idx());
  normalise(batch.rows, states, layer.input_norm);
  make_qkv(layer, batch.positions);
  store_kv(layer_id, batch, kv);
  mix(layer_id, batch, kv);
  kernels::gemm(layer.o_proj, to_inputs(mixed_, batch.rows.size(), q_width()), static_cast<int>(batch.rows.size()),
                update_.data(), config_.hidden_size);
  add_update(batch.rows, states);
}

std::span<const std::byte> AttentionStack::route(LayerId layer_id, std::span<const std::int32_t> rows, TokenStates& states) {
  MOEBIUS_EXPECT(config_.is_moe(layer_id));
  const Layer& layer = weights_.layers.at(layer_id.idx());
  normalise(rows, states, layer.post_attention_norm);
  // In fp32 throughout, so that the choice of experts does not hang on how hidden states are rounded for the wire.
  const kernels::RowsView exact{.type = ComputeType::fp32,
                                .data = reinterpret_cast<const std::byte*>(normed_.data()),
                                .row_stride = config_.hidden_size};
  kernels::gemm(layer.router, exact, static_cast<int>(rows.size()), router_logits_.data(), config_.num_experts);
  const auto norm = config_.router.norm_topk_prob ? kernels::NormTopk::renormalise : kernels::NormTopk::keep;
  for_each_run(rows, [&](std::size_t first, std::int32_t row, int num_rows) {
    kernels::route_topk(router_logits_.data() + first * static_cast<std::size_t>(config_.num_experts), num_rows,
                        config_.num_experts, config_.experts_per_token, norm, states.topk_ids(row), states.topk_weights(row));
  });
  const kernels::RowsView wire = to_inputs(normed_, rows.size(), config_.hidden_size);
  return {wire.data, rows.size() * static_cast<std::size_t>(config_.hidden_size) * element_bytes(compute_)};
}

void AttentionStack::dense_mlp(LayerId layer_id, std::span<const std::int32_t> rows, TokenStates& states) {
  MOEBIUS_EXPECT(!config_.is_moe(layer_id));
  const Layer& layer = weights_.layers.at(layer_id.idx());
  normalise(rows, states, layer.post_attention_norm);
  kernels::expert_ffn(layer.dense, to_inputs(normed_, rows.size(), config_.hidden_size), static_cast<int>(rows.size()),
                      update_.data(), ffn_scratch_);
  add_update(rows, states);
}

void AttentionStack::combine(LayerId layer, std::span<const std::int32_t> rows, TokenStates& states) const {
  MOEBIUS_EXPECT(config_.is_moe(layer));
  for (const std::int32_t row : rows) MOEBIUS_EXPECT(row >= 0 && row < states.capacity());
  kernels::combine_experts(states.residual(0), config_.hidden_size, rows.data(), static_cast<int>(rows.size()),
                           states.expert_outputs(), states.topk_weights(0), config_.experts_per_token, config_.hidden_size);
}

void AttentionStack::lm_head(std::span<const std::int32_t> rows, const TokenStates& states, const LogitsSink& sink) {
  const auto vocab = static_cast<std::size_t>(config_.vocab_size);
  const std::size_t max_rows = logits_.size() / vocab;
  for (std::size_t begin = 0; begin < rows.size(); begin += max_rows) {
    const auto chunk = rows.subspan(begin, std::min(max_rows, rows.size() - begin));
    normalise(chunk, states, weights_.final_norm);
    kernels::gemm(weights_.lm_head, to_inputs(normed_, chunk.size(), config_.hidden_size), static_cast<int>(chunk.size()),
                  logits_.data(), config_.vocab_size);
    for (std::size_t i = 0; i < chunk.size(); ++i) {
      sink(static_cast<int>(begin + i), std::span<const float>(logits_).subspan(i * vocab, vocab));
    }
  }
}

std::span<const float> AttentionStack::final_norm(std::span<const std::int32_t> rows, const TokenStates& states) {
  normalise(rows, states, weights_.final_norm);
  return std::span<const float>(normed_).first(rows.size() * static_cast<std::size_t>(config_.hidden_size));
}

}  // namespace moebius::model
