// SPDX-License-Identifier: Apache-2.0
#pragma once
// The shape of a model, as read from config.json and generation_config.json by `io`.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/ids.hpp"

namespace moebius {

/// How numbers are stored and multiplied: fp32, or bf16 with fp32 accumulation.
enum class ComputeType : std::uint8_t { fp32, bf16 };
const char* to_string(ComputeType type);
/// Bytes of one stored element (weights, KV, hidden states on the wire).
constexpr std::size_t element_bytes(ComputeType type) { return type == ComputeType::bf16 ? 2 : 4; }

/// Queries and keys are normalised before they turn: not at all, each head by itself (Qwen3), or the heads of
/// a token together (OLMoE).
enum class QkNorm : std::uint8_t { none, each_head, all_heads };

/// How router logits become a choice of experts and their weights.
struct RouterOptions {
  enum class Scores : std::uint8_t { softmax, sigmoid };
  /// A group of experts is worth its best one (DeepSeek-V2), or its two best together (DeepSeek-V3).
  enum class GroupScores : std::uint8_t { best, sum_of_two };
  Scores scores = Scores::softmax;
  GroupScores group_scores = GroupScores::best;
  int num_groups = 1;           ///< experts in runs of num_experts / num_groups
  int topk_groups = 1;          ///< experts are chosen from the best topk_groups groups alone
  bool correction_bias = false; ///< a bias of each expert is added for the choice, not for the weights
  bool norm_topk_prob = false;  ///< the k weights are divided by their sum
  double scaling = 1.0;         ///< ... and multiplied by this
};

/// YaRN (arXiv 2309.00071): rotary angles stretched for longer texts than the model was trained with.
struct YarnScaling {
  double factor = 1.0;
  double original_max_positions = 0;
  double beta_fast = 32.0;
  double beta_slow = 1.0;
  bool truncate = true;        ///< the borders of the ramp are whole dimensions
  double magnitude = 1.0;      ///< of cosines and sines
  double score_factor = 1.0;   ///< of the attention scores beside that
};

/// A decoder with routed experts. Sizes are those of config.json. Attention is grouped-query attention, or,
/// where kv_lora_rank > 0, multi-head latent attention (MLA, DeepSeek).
struct ModelConfig {
  std::string model_type;  ///< "qwen3_moe"
  int vocab_size = 0;
  int hidden_size = 0;
  int num_layers = 0;
  int num_heads = 0;
  int num_kv_heads = 0;
  int head_dim = 0;               ///< of queries and keys; in MLA qk_nope_head_dim + qk_rope_head_dim
  int q_lora_rank = 0;            ///< MLA; 0: queries are not compressed
  int kv_lora_rank = 0;           ///< MLA; 0: grouped-query attention
  int qk_nope_head_dim = 0;       ///< MLA
  int qk_rope_head_dim = 0;       ///< MLA
  int v_head_dim = 0;             ///< MLA
  QkNorm qk_norm = QkNorm::none;
  bool qkv_bias = false;
  double clip_qkv = 0;            ///< queries, keys and values are cut to +- this before they turn; 0: not
  std::vector<int> windows;       ///< [num_layers] keys that a query sees, 0: all; empty: all everywhere
  int intermediate_size = 0;      ///< of dense layers
  int moe_intermediate_size = 0;  ///< of one routed expert
  int shared_intermediate_size = 0;  ///< of the shared expert, or of all of them together; 0: none
  bool shared_expert_gate = false;   ///< its output is multiplied by the sigmoid of a learned product
  int num_experts = 0;
  int experts_per_token = 0;  ///< top-k
  RouterOptions router;
  bool tie_word_embeddings = false;
  std::vector<std::uint8_t> moe_layer;  ///< [num_layers] 1: routed experts, 0: dense
  double rope_theta = 10000.0;
  std::optional<YarnScaling> yarn;
  bool rope_interleaved = false;  ///< a checkpoint has the pairs that turn together side by side
  double rms_norm_eps = 1e-6;
  int max_position_embeddings = 0;
  TokenId bos_token = -1;           ///< -1: none
  std::vector<TokenId> eos_tokens;  ///< any of them ends a generation
  std::optional<double> router_skew;  ///< Zipf exponent that make-model gave the router; none: as the weights are

  [[nodiscard]] bool is_moe(LayerId layer) const { return moe_layer[layer.idx()] != 0; }
  [[nodiscard]] bool is_mla() const { return kv_lora_rank > 0; }
  [[nodiscard]] int window(LayerId layer) const { return windows.empty() ? 0 : windows[layer.idx()]; }
  /// Numbers of a head that turn with its position.
  [[nodiscard]] int rope_dim() const { return is_mla() ? qk_rope_head_dim : head_dim; }
};

}  // namespace moebius
