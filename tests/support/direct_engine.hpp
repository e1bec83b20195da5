// SPDX-License-Identifier: Apache-2.0
#pragma once
// The whole model in one process, layer by layer, without queues, ranks or messages: AttentionStack and
// ExpertStack with the shortest thread of calls between them. The oracle of the bits: whatever the engine
// of ranks does with a sequence must give what this gives for it alone.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/model_config.hpp"
#include "base/tensor.hpp"
#include "model/attention_stack.hpp"
#include "model/expert_stack.hpp"
#include "model/kv_cache.hpp"
#include "model/token_states.hpp"

namespace moebius::test {

struct DirectEngineOptions {
  ComputeType compute = ComputeType::fp32;
  int max_step_tokens = 256;        ///< most tokens of one step()
  std::int64_t num_kv_blocks = 64;
  int expert_rows = 256;            ///< most rows of one expert call
  std::uint64_t row_seed = 0;       ///< not 0: token rows and the order of expert rows are shuffled with it
  /// Called before each layer, and with num_layers before the final norm: to look, or to break something.
  std::function<void(LayerId, std::span<const std::int32_t> rows, model::TokenStates&)> before_layer = {};
};

/// What each token of a step or run gave, in the order of the tokens.
struct DirectRun {
  std::vector<std::vector<float>> hidden;  // [num_layers + 1][tokens * hidden_size] as ReferenceRun::hidden
  std::vector<float> logits;               // [tokens, vocab_size]
  void append(const DirectRun& next);
};

class DirectEngine {
 public:
  DirectEngine(const ModelConfig& config, const TensorLookup& tensors, DirectEngineOptions options = {});

  /// A sequence that has been fed `num_tokens` tokens so far.
  struct Sequence {
    model::KvTable table;
    int num_tokens = 0;
    std::int64_t num_reserved = 0;
  };
  [[nodiscard]] Sequence begin(int max_tokens);
  /// A sequence that starts as the first num_tokens positions of `parent`.
  [[nodiscard]] Sequence fork(const Sequence& parent, int num_tokens, int max_tokens);
  void end(Sequence& sequence);

  /// The next tokens of a sequence. Several pieces may belong to the same one, in order.
  struct Piece {
    Sequence* sequence;
    std::span<const TokenId> tokens;
  };
  /// Feed the pieces through all layers as one micro-batch.
  DirectRun step(std::span<const Piece> pieces);

  /// One sequence from its first token, in steps of at most `chunk_tokens` (0: all at once).
  DirectRun run(std::span<const TokenId> tokens, int chunk_tokens = 0);
  /// The n most probable next tokens, ties to the lowest id, each fed by itself.
  std::vector<TokenId> greedy(std::span<const TokenId> prompt, int n);
  /// Log-probabilities of tokens[1..] from the logits of a run of `tokens`.
  [[nodiscard]] std::vector<float> token_logprobs(const DirectRun& run, std::span<const TokenId> tokens) const;

  [[nodiscard]] const model::KvCache& kv() const { return kv_; }

 private:
  void layer(LayerId layer, const model::MicroBatch& batch);
  void experts(LayerId layer, std::span<const std::int32_t> rows);
  [[nodiscard]] std::vector<float> residuals(std::span<const std::int32_t> rows) const;
  void shuffle(std::vector<std::int32_t>& ids);

  ModelConfig config_;
  DirectEngineOptions options_;
  model::AttentionStack attention_;
  model::ExpertStack experts_;
  model::KvCache kv_;
  model::TokenStates states_;
  std::uint64_t num_shuffles_ = 0;
};

}  // namespace moebius::test
