// SPDX-License-Identifier: Apache-2.0
#pragma once
// The specification of what a model computes, in plain loops: one token after another, one number after
// another, every tensor as the checkpoint stores it. It shares nothing with the kernels or the model
// layer but the description of the checkpoint, so that agreement means something. Speed is no aim.
//
// Semantics: the modeling files of Hugging Face transformers for Mixtral, Qwen2-MoE, Qwen3-MoE, OLMoE,
// DeepSeek-V2 and DeepSeek-V3, computed in T throughout (float, double). Latent attention expands keys and
// values of all heads, as it was published.

#include <span>
#include <string>
#include <vector>

#include "base/model_config.hpp"
#include "base/tensor.hpp"

namespace moebius::test {

/// Everything worth comparing of one forward pass. Numbers of a float run are widened exactly.
struct ReferenceRun {
  /// [num_layers + 1][num_tokens * hidden_size]: embeddings, then the residual after each layer, where the
  /// last one is taken after the final norm (the convention of transformers' output_hidden_states).
  std::vector<std::vector<double>> hidden;
  std::vector<double> logits;          // [num_tokens, vocab_size]
  std::vector<double> token_logprobs;  // [num_tokens - 1] of token p + 1 given 0..p
};

template <class T>
class ReferenceModel {
 public:
  ReferenceModel(const ModelConfig& config, const TensorLookup& tensors);

  [[nodiscard]] ReferenceRun run(std::span<const TokenId> tokens) const;
  /// The n most probable next tokens, one after the other; ties to the lowest id. Computes the whole
  /// sequence again for each.
  [[nodiscard]] std::vector<TokenId> greedy(std::span<const TokenId> prompt, int n) const;

 private:
  struct Ffn {
    std::vector<T> gate, up;  // [width, hidden_size]
    std::vector<T> down;      // [hidden_size, width]
  };
  struct FfnNames {
    std::string gate, up, down;
  };
  struct Layer {
    std::vector<T> input_norm, post_attention_norm;  // [hidden_size]
    std::vector<T> q_proj, k_proj, v_proj, o_proj;
    std::vector<T> q_bias, k_bias, v_bias;                      // empty where there is none
    std::vector<T> q_norm, k_norm;                              // [head_dim] or [all heads]; empty where there is none
    std::vector<T> q_a_proj, q_a_norm, kv_a_proj, kv_a_norm, kv_b_proj;  // latent attention; q_proj is its q_b_proj
    std::vector<T> router;       // [num_experts, hidden_size], empty in a dense layer
    std::vector<T> router_bias;  // [num_experts], empty where there is none
    std::vector<Ffn> experts;    // [num_experts]; [1] in a dense layer
    std::vector<Ffn> shared;     // [1] or empty
    std::vector<T> shared_gate;  // [hidden_size], empty where there is none
  };

  std::vector<T> read(const TensorLookup& tensors, const std::string& name, std::vector<std::int64_t> shape) const;
  Ffn read_ffn(const TensorLookup& tensors, const std::string& prefix, const FfnNames& names, int width) const;
  void read_grouped_attention(const TensorLookup& tensors, const std::string& prefix, Layer& layer) const;
  void read_latent_attention(const TensorLookup& tensors, const std::string& prefix, Layer& layer) const;
  void read_experts(const TensorLookup& tensors, const std::string& prefix, Layer& layer) const;

  /// Of one position: queries and keys [heads][key numbers], values [heads][value numbers]; turned.
  struct Heads {
    std::vector<T> queries, keys, values;
  };
  Heads grouped_heads(const Layer& layer, std::span<const T> x, std::size_t position) const;
  Heads latent_heads(const Layer& layer, std::span<const T> x, std::size_t position) const;
  /// Adds to `residual` [num_tokens, hidden_size] in place.
  void attention(LayerId layer, std::vector<T>& residual) const;
  void feed_forward(const Layer& layer, std::span<T> residual_row) const;
  std::vector<T> apply_ffn(const Ffn& ffn, const std::vector<T>& x) const;
  /// The weight of each expert, zero for those that are not chosen. // [num_experts]
  std::vector<T> routing_weights(const Layer& layer, const std::vector<T>& x) const;
  /// Angle per position of the pair i, of half as many pairs as a head has turning numbers.
  double frequency(std::size_t i) const;
  /// Rotates one head of one position, or the part of it that turns.
  void rotate(std::span<T> head, std::size_t position) const;

  ModelConfig config_;
  std::vector<T> embedding_;   // [vocab_size, hidden_size]
  std::vector<Layer> layers_;  // [num_layers]
  std::vector<T> final_norm_;  // [hidden_size]
  std::vector<T> lm_head_;     // [vocab_size, hidden_size]
};

extern template class ReferenceModel<float>;
extern template class ReferenceModel<double>;

}  // namespace moebius::test
