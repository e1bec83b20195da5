// SPDX-License-Identifier: Apache-2.0
#pragma once
// What has to be computed for one request: a pure function of (request, tokenizer, chat template, model), so that
// every rank that claims the request plans the same work.
//
// A request becomes rows and *trees*. A tree is a root sequence (a context, a prompt, a window of a
// text) and branches that go on from the root's KV: the continuations of a loglikelihood, the choices
// of a generation. The root is computed once whatever the number of branches.

#include <cstdint>
#include <vector>

#include "base/model_config.hpp"
#include "base/request.hpp"
#include "model/chat_template.hpp"
#include "model/tokenizer.hpp"

namespace moebius::ranks {

/// "The logits at fed_idx give the log-probability of `token`, which is entry token_idx of row row_idx."
struct Target {
  std::int32_t fed_idx;    ///< index into the tokens that this sequence feeds itself
  std::int32_t row_idx;
  std::int32_t token_idx;
  TokenId token;
};

/// A continuation (tokens known) or a generation (tokens empty, max_new_tokens > 0) of its root.
struct BranchPlan {
  std::int32_t row_idx = 0;
  std::vector<TokenId> tokens;   ///< fed after the root; the last token of a continuation is never fed
  std::vector<Target> targets;   ///< ascending fed_idx
  std::int32_t max_new_tokens = 0;
};

struct TreePlan {
  std::vector<TokenId> tokens;   ///< fed by the root from position 0
  std::vector<Target> targets;   ///< ascending fed_idx
  std::vector<BranchPlan> branches;
};

struct RequestPlan {
  SamplingOptions sampling;
  std::vector<Row> rows;         ///< prepared: ids and counts set, log-probs NaN, status ok unless it failed
  std::vector<TreePlan> trees;   ///< empty when no row can be computed
};

/// Never throws for what a request may contain: a request that cannot run has rows with a status and
/// no trees. `max_positions` is the most positions a sequence may have.
RequestPlan plan_request(const Request& request, const model::Tokenizer& tokenizer, const model::ChatTemplate& chat_template,
                         const ModelConfig& config, int max_positions);

/// The row of a line that could not be read.
Row row_of(const BadLine& line);

}  // namespace moebius::ranks
