// SPDX-License-Identifier: Apache-2.0
#pragma once
// From logits to rows: gathers log-probabilities of known tokens, samples new ones, ends generations.
// Everything here is a function of one position's logits and of the row, so it does not matter when or
// beside what a position is computed.

#include <cstdint>
#include <span>
#include <vector>

#include "base/latency_histogram.hpp"
#include "model/logits_reader.hpp"
#include "model/tokenizer.hpp"
#include "ranks/sequence.hpp"

namespace moebius::ranks {

class Scorer {
 public:
  Scorer(const model::Tokenizer& tokenizer, std::vector<TokenId> eos_tokens, std::uint64_t job_seed);

  enum class Wants : std::uint8_t { nothing, log_probs, logits };
  /// What is wanted of the logits after sequence.tokens[fed_idx]: to draw from them or to list the most probable tokens
  /// takes all of them. To be asked with ascending fed_idx.
  [[nodiscard]] static Wants wants(Sequence& sequence, std::int32_t fed_idx);
  /// Appends the logits that on_log_probs will need of row `row` of an LM head call; returns how many.
  static std::size_t add_wanted(const Sequence& sequence, std::int32_t fed_idx, int row, std::vector<model::WantedLogit>& wanted);
  /// Use the log-probabilities after sequence.tokens[fed_idx]. `wanted`: what add_wanted appended, with logits.
  void on_log_probs(Sequence& sequence, std::int32_t fed_idx, const model::LogitsSummary& summary,
                    std::span<const model::WantedLogit> wanted);
  /// Use the logits after sequence.tokens[fed_idx]. A generating sequence gets its next token appended
  /// to `tokens` unless it ended; a root gets the first tokens of its generations into tree->waiting.
  void on_logits(Sequence& sequence, std::int32_t fed_idx, std::span<const float> logits);
  /// All sequences of the request are done: sums and texts.
  [[nodiscard]] std::vector<Row> finish(ActiveRequest& request) const;
  /// Times between consecutive tokens of a generation.
  [[nodiscard]] const LatencyHistogram& inter_token_times() const { return inter_token_times_; }

 private:
  static std::span<const Target> targets_after(const Sequence& sequence, std::int32_t fed_idx);
  /// Store the log-probability of `token`, and the most probable tokens from the logits just read where they are asked.
  void record(Row& row, std::size_t token_idx, TokenId token, float logprob, TokenId argmax);
  /// Start or go on with what follows the newest token of the sequence.
  void advance(Sequence& sequence);
  enum class Continues : std::uint8_t { yes, no };
  /// Draw the token of `position`; `no` when the generation ends with it.
  Continues generate(ActiveRequest& request, const BranchPlan& branch, std::int32_t position, TokenId& token);
  /// Has a stop string appeared with the newest token, before which the text had `old_size` bytes? If so
  /// the text is cut before it.
  bool cut_at_stop(Generation& generation, std::size_t old_size, const std::vector<std::string>& stop) const;

  const model::Tokenizer& tokenizer_;
  std::vector<TokenId> eos_tokens_;
  std::uint64_t job_seed_;
  model::LogitsReader reader_;
  LatencyHistogram inter_token_times_;
};

}  // namespace moebius::ranks
