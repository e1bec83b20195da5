// SPDX-License-Identifier: Apache-2.0
#pragma once
// Everything that an attention rank computes, one layer and one micro-batch at a time: embedding,
// attention, router, dense layers, shared experts, combine, LM head. The routed experts are ExpertStack's; what passes
// between the two is TokenStates::expert_input() and expert_output().
//
// Order, for each token: embed; for each layer attend, then either dense_mlp or route, add_shared_experts,
// (routed) experts, combine; then lm_head. Each step's bits depend on the token and on its sequence's earlier positions only, not on
// the micro-batch around it. Numbers: weights, inputs of matrix products, keys, values and the rows that
// go to experts are in compute type; residual, norms, softmax and router are fp32.
// Scratch is allocated at construction (the list of kv blocks grows to its longest use). One thread.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/model_config.hpp"
#include "base/tensor.hpp"
#include "kernels/activations.hpp"
#include "kernels/attention.hpp"
#include "kernels/ffn.hpp"
#include "kernels/gemm.hpp"
#include "kernels/lm_head.hpp"
#include "kernels/rope.hpp"
#include "model/attention_weights.hpp"
#include "model/kv_cache.hpp"
#include "model/token_states.hpp"
#include "model/weights.hpp"

namespace moebius::model {

/// A run of consecutive positions of one sequence. The table has blocks for all of them, and the keys and
/// values of earlier positions are in the cache or belong to a segment of the same micro-batch.
struct SegmentRef {
  const KvTable* table = nullptr;
  int first_position = 0;
  int num_tokens = 0;
};

/// Tokens that pass a layer together: the rows of the segments, one segment after the other.
struct MicroBatch {
  std::span<const std::int32_t> rows;    // [num_tokens] TokenStates rows
  std::span<const int> positions;        // [num_tokens]
  std::span<const SegmentRef> segments;  // their num_tokens add up to rows.size()
};

class AttentionStack {
 public:
  /// Reads its weights (all but the routed experts), or its share of them, to `place`. Throws
  /// Failure{unreadable_input}. Where the work is shared, nothing may be computed before all sharers are here.
  AttentionStack(const ModelConfig& config, ComputeType compute, const TensorLookup& tensors, int max_batch_tokens,
                 const WeightPlace& place = {});
  AttentionStack(const AttentionStack&) = delete;
  AttentionStack& operator=(const AttentionStack&) = delete;

  [[nodiscard]] int max_batch_tokens() const { return max_batch_tokens_; }
  [[nodiscard]] kernels::KvLayout kv_layout() const { return kv_layout_; }

  /// Residual of each row = embedding of its token. Any number of rows.
  void embed(TokenStates& states, std::span<const std::int32_t> rows, std::span<const TokenId> tokens) const;
  /// Norm, queries, keys, values, attention over the cache, output projection; added to the residual.
  /// Keys and values of the whole micro-batch are written before any query reads.
  void attend(LayerId layer, const MicroBatch& batch, TokenStates& states, KvCache& kv);
  /// Norm and router of a layer with routed experts: sets topk_ids, topk_weights and expert_input of
  /// the rows. At most max_batch_tokens rows.
  void route(LayerId layer, std::span<const std::int32_t> rows, TokenStates& states);
  /// Of the rows of the last route(). // [rows, num_experts]
  [[nodiscard]] std::span<const float> router_logits() const { return router_logits_; }
  /// The shared experts of a layer with routed experts, added to the residual; nothing where there are none.
  /// To be called once between route and combine, after dispatch: expert ranks then work at the same time.
  void add_shared_experts(LayerId layer, std::span<const std::int32_t> rows, TokenStates& states);
  /// The feed-forward network of a dense layer, added to the residual.
  void dense_mlp(LayerId layer, std::span<const std::int32_t> rows, TokenStates& states);
  /// Adds the weighted expert outputs, which have all arrived, to the residual; of a row up to its first id that is
  /// negative. Any number of rows.
  void combine(LayerId layer, std::span<const std::int32_t> rows, TokenStates& states) const;
  /// Final norm and logits, a few rows at a time: sink(i, logits of rows[i]) for i = 0, 1, ... The logits
  /// are valid during the call, which must not come back to this stack. Any number of rows.
  using LogitsSink = std::function<void(int, std::span<const float>)>;
  void lm_head(std::span<const std::int32_t> rows, const TokenStates& states, const LogitsSink& sink);
  /// The same where only log-probabilities are asked: what log-softmax needs and the wanted logits, without whole rows
  /// of logits. `row` of a WantedLogit is an index of `rows`. Same bits. At most max_batch_tokens rows.
  void summarise_head(std::span<const std::int32_t> rows, const TokenStates& states, std::span<kernels::LogitsSummary> summaries,
                      std::span<kernels::WantedLogit> wanted);
  /// The hidden states that the LM head multiplies, before they are rounded to compute type. At most
  /// max_batch_tokens rows; valid until the next call. // [rows.size(), hidden_size]
  [[nodiscard]] std::span<const float> final_norm(std::span<const std::int32_t> rows, const TokenStates& states);

  [[nodiscard]] std::size_t weight_bytes() const { return arena_.used() + rope_.bytes(); }
  [[nodiscard]] std::size_t scratch_bytes() const;
  [[nodiscard]] std::size_t bytes() const { return weight_bytes() + scratch_bytes(); }
  /// Bytes that a place for the weights must have, without loading.
  static std::size_t weight_bytes(const ModelConfig& config, ComputeType compute);

 private:
  using Layer = AttentionWeights::Layer;
  /// Queries, keys and values of a micro-batch, in scratch. The heads of a row lie side by side.
  struct Projected {
    const float* q;
    std::int64_t q_stride;
    const float* k;
    const float* v;
    std::int64_t kv_stride;
  };

  [[nodiscard]] int q_width() const { return config_.num_heads * config_.head_dim; }
  [[nodiscard]] int kv_width() const { return config_.num_kv_heads * config_.head_dim; }
  /// Of what is made of a hidden state in one product.
  [[nodiscard]] int projection_width() const;
  /// Of what o_proj multiplies.
  [[nodiscard]] int out_width() const { return config_.num_heads * (config_.is_mla() ? config_.v_head_dim : config_.head_dim); }

  void allocate_scratch();
  /// normed_ = norm of the residuals.
  void normalise(std::span<const std::int32_t> rows, const TokenStates& states, std::span<const float> weight);
  /// Rows of fp32 as inputs of a product: rounded into inputs_ where the compute type is not fp32.
  [[nodiscard]] kernels::RowsView to_inputs(const std::vector<float>& values, std::size_t num_rows, int width);
  /// The rows of normed_ as they are, for the router and the gate of shared experts: so that the choice of
  /// experts does not hang on how hidden states are rounded for the wire.
  [[nodiscard]] kernels::RowsView exact_inputs() const;
  /// Queries, keys and values of normed_, with norms and rotation applied.
  [[nodiscard]] Projected project(const Layer& layer, std::span<const int> positions);
  [[nodiscard]] Projected grouped_projections(const Layer& layer, std::span<const int> positions);
  [[nodiscard]] Projected latent_projections(const Layer& layer, std::span<const int> positions);
  void store_kv(LayerId layer, const MicroBatch& batch, const Projected& projected, KvCache& kv) const;
  /// mixed_ = attention of the queries.
  void mix(LayerId layer, const MicroBatch& batch, const Projected& projected, const KvCache& kv);
  /// The inputs of o_proj, made of mixed_. // [num_rows, out_width]
  [[nodiscard]] const std::vector<float>& lift_values(const Layer& layer, std::size_t num_rows);
  /// topk_ids and topk_weights of consecutive rows.
  void choose_experts(const Layer& layer, const float* logits, std::int32_t first_row, int num_rows, TokenStates& states) const;
  /// Residuals of the rows += update_.
  void add_update(std::span<const std::int32_t> rows, TokenStates& states) const;

  ModelConfig config_;
  ComputeType compute_;
  int max_batch_tokens_;
  kernels::KvLayout kv_layout_;
  kernels::RopeTable rope_;
  WeightArena arena_;         // holds the weights
  AttentionWeights weights_;

  std::vector<float> normed_;         // [max_batch_tokens, hidden_size]
  std::vector<std::byte> inputs_;     // [max_batch_tokens, widest input] compute type; empty in fp32
  std::vector<float> projected_;      // [max_batch_tokens, projection_width]
  std::vector<float> mixed_;          // [max_batch_tokens, num_heads value_dim]
  std::vector<float> compressed_;        // [max_batch_tokens, q_lora_rank]; latent
  std::vector<float> queries_of_heads_;  // [max_batch_tokens, q_width]; latent, with q_lora_rank
  std::vector<float> absorbed_;          // [max_batch_tokens, num_heads key_dim]; latent
  std::vector<float> lifted_;            // [max_batch_tokens, out_width]; latent
  std::vector<float> update_;         // [max_batch_tokens, hidden_size]
  std::vector<float> router_logits_;  // [max_batch_tokens, num_experts]
  std::vector<float> shared_gates_;   // [max_batch_tokens]; empty where no shared expert has a gate
  std::vector<float> logits_;         // [rows of one LM head call, vocab_size]
  kernels::FfnScratch ffn_scratch_;
  std::vector<const std::byte*> input_rows_;         // [max_batch_tokens] of shared experts
  std::vector<const std::byte*> block_pointers_;     // of all segments of a micro-batch
  std::vector<kernels::SegmentQueries> queries_;     // [segments of a micro-batch]
};

}  // namespace moebius::model
