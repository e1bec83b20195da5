// SPDX-License-Identifier: Apache-2.0
#pragma once
// The specification of what a model computes, in plain loops: one token after another, one number after
// another, every tensor as the checkpoint stores it. It shares nothing with the kernels or the model
// layer but the description of the checkpoint, so that agreement means something. Speed is no aim.
//
// Semantics: Qwen3MoeForCausalLM of Hugging Face transformers, computed in T throughout (float, double).

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
    int width = 0;
  };
  struct Layer {
    std::vector<T> input_norm, post_attention_norm;  // [hidden_size]
    std::vector<T> q_proj, k_proj, v_proj, o_proj;
    std::vector<T> q_norm, k_norm;  // [head_dim]
    std::vector<T> router;          // [num_experts, hidden_size], empty in a dense layer
    std::vector<Ffn> experts;       // [num_experts]; [1] in a dense layer
  };

  std::vector<T> read(const TensorLookup& tensors, const std::string& name, std::vector<std::int64_t> shape) const;
  Ffn read_ffn(const TensorLookup& tensors, const std::string& prefix, int width) const;
  /// Adds to `residual` [num_tokens, hidden_size] in place.
  void attention(const Layer& layer, std::vector<T>& residual) const;
  void feed_forward(const Layer& layer, std::span<T> residual_row) const;
  /// Rotates one head of one position. // [head_dim]
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
