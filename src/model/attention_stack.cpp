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

/// Rows of one LM head product that gives whole rows of logits: enough that arithmetic and not the reading of weights sets the pace, few
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
      rope_(config.rope_dim(), config.rope_theta, config.max_position_embeddings, config.yarn),
      arena_(place.memory.empty() ? WeightArena::owning(weight_bytes(config, compute)) : WeightArena::over(place.memory)) {
  MOEBIUS_EXPECT(max_batch_tokens > 0);
  MOEBIUS_EXPECT(config.moe_layer.size() == static_cast<std::size_t>(config.num_layers));
  MOEBIUS_EXPECT(config.windows.empty() || config.windows.size() == config.moe_layer.size());
  MOEBIUS_EXPECT(config.num_kv_heads > 0 && config.num_heads % config.num_kv_heads == 0);
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
  const int tokens = max_batch_tokens_, mixed_width = config_.num_heads * kv_layout_.value_dim;
  normed_.resize(product(tokens, config_.hidden_size));
  update_.resize(product(tokens, config_.hidden_size));
  projected_.resize(product(tokens, projection_width()));
  mixed_.resize(product(tokens, mixed_width));
  int widest = std::max({config_.hidden_size, mixed_width, out_width()});
  if (config_.is_mla()) {
    compressed_.resize(product(tokens, config_.q_lora_rank));
    if (config_.q_lora_rank > 0) queries_of_heads_.resize(product(tokens, q_width()));
    absorbed_.resize(product(tokens, config_.num_heads * kv_layout_.key_dim));
    lifted_.resize(product(tokens, out_width()));
    widest = std::max({widest, projection_width(), q_width(), config_.q_lora_rank});
  }
  logits_.resize(product(std::min(tokens, max_logit_rows(config_.vocab_size)), config_.vocab_size));
  if (compute_ != ComputeType::fp32) {
    inputs_.resize(product(tokens, widest) * element_bytes(compute_));
  }
  const auto num_moe = std::ranges::count_if(config_.moe_layer, [](std::uint8_t moe) { return moe != 0; });
  if (num_moe > 0) router_logits_.resize(product(tokens, config_.num_experts));
  if (num_moe < config_.num_layers) ffn_scratch_.reserve(tokens, config_.intermediate_size);
  if (num_moe > 0 && config_.shared_intermediate_size > 0) ffn_scratch_.reserve(tokens, config_.shared_intermediate_size);
  if (config_.shared_expert_gate) shared_gates_.resize(product(tokens, 1));
  queries_.reserve(static_cast<std::size_t>(tokens));
  input_rows_.reserve(static_cast<std::size_t>(tokens));
}

std::size_t AttentionStack::scratch_bytes() const {
  std::size_t num_floats = 0;
  for (const auto* values : {&normed_, &update_, &projected_, &mixed_, &compressed_, &queries_of_heads_, &absorbed_, &lifted_,
                             &logits_, &router_logits_, &shared_gates_}) {
    num_floats += values->size();
  }
  return num_floats * sizeof(float) + inputs_.size() + ffn_scratch_.bytes() +
         (block_pointers_.capacity() + input_rows_.capacity()) * sizeof(const std::byte*) + queries_.capacity() * sizeof(kernels::SegmentQueries);
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

kernels::RowsView AttentionStack::exact_inputs() const {
  return {.type = ComputeType::fp32, .data = reinterpret_cast<const std::byte*>(normed_.data()), .row_stride = config_.hidden_size};
}

kernels::RowsView AttentionStack::to_inputs(const std::vector<float>& values, std::size_t num_rows, int width) {
  if (compute_ == ComputeType::fp32) {
    return {.type = compute_, .data = reinterpret_cast<const std::byte*>(values.data()), .row_stride = width};
  }
  kernels::convert_rows(compute_, std::span(values).first(num_rows * static_cast<std::size_t>(width)), inputs_.data());
  return {.type = compute_, .data = inputs_.data(), .row_stride = width};
}

void AttentionStack::store_kv(LayerId layer, const MicroBatch& batch, const Projected& projected, KvCache& kv) const {
  std::int64_t row = 0;
  for (const SegmentRef& segment : batch.segments) {
    for (int i = 0; i < segment.num_tokens; ++i, ++row) {
      const int position = segment.first_position + i;
      kernels::store_kv(kv_layout_, kv.block(*segment.table, position / KvCache::block_tokens, layer),
                        position % KvCache::block_tokens, projected.k + row * projected.kv_stride,
                        projected.v + row * projected.kv_stride);
    }
  }
}

void AttentionStack::mix(LayerId layer, const MicroBatch& batch, const Projected& projected, const KvCache& kv) {
  std::size_t num_pointers = 0;
  for (const SegmentRef& segment : batch.segments) {
    num_pointers += static_cast<std::size_t>(KvCache::blocks_for(segment.first_position + segment.num_tokens));
  }
  if (block_pointers_.size() < num_pointers) block_pointers_.resize(num_pointers);
  queries_.clear();
  const std::byte** pointers = block_pointers_.data();
  const std::int64_t out_stride = std::int64_t{config_.num_heads} * kv_layout_.value_dim;
  std::int64_t row = 0;
  for (const SegmentRef& segment : batch.segments) {
    const int end = segment.first_position + segment.num_tokens;
    kv.block_pointers(*segment.table, layer, end, pointers);
    queries_.push_back({.q = projected.q + row * projected.q_stride,
                        .q_stride = projected.q_stride,
                        .out = mixed_.data() + row * out_stride,
                        .out_stride = out_stride,
                        .blocks = pointers,
                        .first_position = segment.first_position,
                        .num_tokens = segment.num_tokens});
    pointers += KvCache::blocks_for(end);
    row += segment.num_tokens;
  }
  const double scale = (config_.yarn ? config_.yarn->score_factor : 1.0) / std::sqrt(static_cast<double>(config_.head_dim));
  kernels::attention(kv_layout_,
                     {.num_heads = config_.num_heads, .scale = static_cast<float>(scale), .window = config_.window(layer)}, queries_);
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
  const Projected projected = project(layer, batch.positions);
  store_kv(layer_id, batch, projected, kv);
  mix(layer_id, batch, projected, kv);
  const std::vector<float>& lifted = lift_values(layer, batch.rows.size());
  kernels::gemm(layer.o_proj, to_inputs(lifted, batch.rows.size(), out_width()), static_cast<int>(batch.rows.size()),
                update_.data(), config_.hidden_size);
  add_update(batch.rows, states);
}

void AttentionStack::route(LayerId layer_id, std::span<const std::int32_t> rows, TokenStates& states) {
  MOEBIUS_EXPECT(config_.is_moe(layer_id));
  const Layer& layer = weights_.layers.at(layer_id.idx());
  const auto hidden = static_cast<std::size_t>(config_.hidden_size), num_experts = static_cast<std::size_t>(config_.num_experts);
  normalise(rows, states, layer.post_attention_norm);
  kernels::gemm(layer.router, exact_inputs(), static_cast<int>(rows.size()), router_logits_.data(), config_.num_experts);
  for_each_run(rows, [&](std::size_t first, std::int32_t row, int num_rows) {
    choose_experts(layer, router_logits_.data() + first * num_experts, row, num_rows, states);
    const auto run = std::span<const float>(normed_).subspan(first * hidden, static_cast<std::size_t>(num_rows) * hidden);
    kernels::convert_rows(compute_, run, states.expert_input(row));
  });
}

void AttentionStack::choose_experts(const Layer& layer, const float* logits, std::int32_t first_row, int num_rows, TokenStates& states) const {
  const int k = config_.experts_per_token, room = states.experts_per_token();
  MOEBIUS_EXPECT(room >= k);
  // Where rows have room for more experts than the router chooses, their choices do not lie side by side.
  const int rows_at_once = room == k ? num_rows : 1;
  for (int i = 0; i < num_rows; i += rows_at_once) {
    const std::int32_t row = first_row + i;
    kernels::route_topk(config_.router, layer.router_bias, logits + static_cast<std::ptrdiff_t>(i) * config_.num_experts, rows_at_once,
                        config_.num_experts, k, states.topk_ids(row), states.topk_weights(row));
    std::fill(states.topk_ids(row) + k, states.topk_ids(row) + room, -1);
  }
}

void AttentionStack::add_shared_experts(LayerId layer_id, std::span<const std::int32_t> rows, TokenStates& states) {
  MOEBIUS_EXPECT(config_.is_moe(layer_id));
  if (config_.shared_intermediate_size == 0) return;
  const Layer& layer = weights_.layers.at(layer_id.idx());
  const auto num_rows = static_cast<int>(rows.size());
  input_rows_.clear();
  for (const std::int32_t row : rows) input_rows_.push_back(states.expert_input(row));
  kernels::expert_ffn(layer.dense, {.type = compute_, .rows = input_rows_.data()}, num_rows,
                      kernels::RowsOut{.data = update_.data(), .row_stride = config_.hidden_size}, ffn_scratch_);
  if (config_.shared_expert_gate) {
    // The norm again: it costs less than to promise that nothing has used the scratch since route.
    normalise(rows, states, layer.post_attention_norm);
    kernels::gemm(layer.shared_gate, exact_inputs(), num_rows, shared_gates_.data(), 1);
    const auto hidden = static_cast<std::size_t>(config_.hidden_size);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const float gate = 1.0F / (1.0F + std::exp(-shared_gates_[i]));
      for (float& value : std::span(update_).subspan(i * hidden, hidden)) value *= gate;
    }
  }
  add_update(rows, states);
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
                           states.expert_outputs(), states.topk_weights(0), states.experts_per_token(), config_.hidden_size,
                           states.topk_ids(0));
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

void AttentionStack::summarise_head(std::span<const std::int32_t> rows, const TokenStates& states,
                                    std::span<kernels::LogitsSummary> summaries, std::span<kernels::WantedLogit> wanted) {
  MOEBIUS_EXPECT(summaries.size() == rows.size());
  normalise(rows, states, weights_.final_norm);
  kernels::summarise_head(weights_.lm_head, to_inputs(normed_, rows.size(), config_.hidden_size), summaries, wanted);
}

std::span<const float> AttentionStack::final_norm(std::span<const std::int32_t> rows, const TokenStates& states) {
  normalise(rows, states, weights_.final_norm);
  return std::span<const float>(normed_).first(rows.size() * static_cast<std::size_t>(config_.hidden_size));
}

}  // namespace moebius::model
