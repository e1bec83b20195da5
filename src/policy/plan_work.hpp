// SPDX-License-Identifier: Apache-2.0
#pragma once
// The work of a job as its plan sees it: how many tokens go through the layers, in what company, and what they look at. Pure.

#include <span>
#include <vector>

#include "base/job.hpp"

namespace moebius::policy {

/// Requests that are alike.
struct RequestShape {
  double prompt_tokens = 1;  ///< fed as prompts: contexts, and continuations of known text
  double scored_tokens = 0;  ///< of these, how many logits are wanted of
  double new_tokens = 0;     ///< generated, in each of `choices` continuations of the prompt
  double choices = 1;
  double count = 1;
};

/// Prompts of like length, or generation behind such prompts.
struct WorkPhase {
  enum class Kind : std::uint8_t { prompts, generation } kind = Kind::prompts;
  double sequences = 0;             ///< of all ranks
  double tokens_per_sequence = 0;   ///< that go through the layers in this phase
  double segment_tokens = 1;        ///< tokens of a sequence that move as a unit
  double kv_per_token = 0;          ///< positions that attention reads, each once for a segment, for one of its tokens
  double pairs_per_token = 0;       ///< (query, key)
  double scored_per_token = 0;      ///< logits wanted
  double most_batch_tokens = 1;     ///< tokens that a rank can have in the layers at once
  [[nodiscard]] double tokens() const { return sequences * tokens_per_sequence; }
};

/// What a rank with attention puts through a layer at once, as a mean over the phase.
struct WorkBatch {
  double tokens = 0;
  double count = 0;                 ///< so many such batches one after the other, on the busiest rank
};

/// By powers of two of the lengths: prompts of a length together, then what they generate. Limits are resolved ones (kv_tokens > 0).
std::vector<WorkPhase> phases_of(std::span<const RequestShape> requests, const Job::Limits& limits);

/// How `attention_ranks` share a phase: a prompt stays on a rank, so that few prompts leave some ranks with one less than others.
WorkBatch batch_of(const WorkPhase& phase, int attention_ranks);

}  // namespace moebius::policy
