// SPDX-License-Identifier: Apache-2.0
#include "ranks/scorer.hpp"

#include <algorithm>
#include <cmath>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "base/hash.hpp"
#include "base/random.hpp"

namespace moebius::ranks {

Scorer::Scorer(const model::Tokenizer& tokenizer, std::vector<TokenId> eos_tokens, std::uint64_t job_seed)
    : tokenizer_(tokenizer), eos_tokens_(std::move(eos_tokens)), job_seed_(job_seed) {}

std::span<const Target> Scorer::targets_after(const Sequence& sequence, std::int32_t fed_idx) {
  const auto& targets = sequence.targets();
  const auto [first, last] = std::ranges::equal_range(targets, fed_idx, {}, &Target::fed_idx);
  return {first, last};
}

Scorer::Wants Scorer::wants(Sequence& sequence, std::int32_t fed_idx) {
  const auto& targets = sequence.targets();
  while (sequence.next_target < targets.size() && targets[sequence.next_target].fed_idx < fed_idx) ++sequence.next_target;
  bool any = false;
  for (std::size_t i = sequence.next_target; i < targets.size() && targets[i].fed_idx == fed_idx; ++i) {
    if (sequence.tree->request->plan.rows[static_cast<std::size_t>(targets[i].row_idx)].topk_width > 0) return Wants::logits;
    any = true;
  }
  const Wants of_targets = any ? Wants::log_probs : Wants::nothing;
  if (fed_idx + 1 != sequence.num_tokens()) return of_targets;
  const auto& branches = sequence.tree->plan->branches;
  const bool draws = sequence.generates() ||
                     (sequence.branch == nullptr &&
                      std::ranges::any_of(branches, [](const BranchPlan& branch) { return branch.max_new_tokens > 0; }));
  return draws ? Wants::logits : of_targets;
}

std::size_t Scorer::add_wanted(const Sequence& sequence, std::int32_t fed_idx, int row, std::vector<model::WantedLogit>& wanted) {
  const auto targets = targets_after(sequence, fed_idx);
  for (const Target& target : targets) wanted.push_back({.row = row, .token = target.token});
  return targets.size();
}

void Scorer::on_log_probs(Sequence& sequence, std::int32_t fed_idx, const model::LogitsSummary& summary,
                          std::span<const model::WantedLogit> wanted) {
  const auto targets = targets_after(sequence, fed_idx);
  MOEBIUS_EXPECT(wanted.size() == targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) {
    MOEBIUS_EXPECT(wanted[i].token == targets[i].token);
    record(sequence.tree->request->plan.rows[static_cast<std::size_t>(targets[i].row_idx)],
           static_cast<std::size_t>(targets[i].token_idx), targets[i].token, model::log_prob(summary, wanted[i].logit), summary.argmax);
  }
  if (fed_idx + 1 == sequence.num_tokens()) advance(sequence);
}

void Scorer::on_logits(Sequence& sequence, std::int32_t fed_idx, std::span<const float> logits) {
  reader_.read(logits);
  for (const Target& target : targets_after(sequence, fed_idx)) {
    record(sequence.tree->request->plan.rows[static_cast<std::size_t>(target.row_idx)], static_cast<std::size_t>(target.token_idx),
           target.token, reader_.log_prob(target.token), reader_.argmax());
  }
  if (fed_idx + 1 == sequence.num_tokens()) advance(sequence);
}

void Scorer::advance(Sequence& sequence) {
  ActiveRequest& request = *sequence.tree->request;
  const std::int32_t next_position = sequence.first_position + sequence.num_tokens();
  TokenId token = -1;
  if (sequence.generates()) {
    if (generate(request, *sequence.branch, next_position, token) == Continues::yes) sequence.tokens.push_back(token);
  } else if (sequence.branch == nullptr) {
    for (const BranchPlan& branch : sequence.tree->plan->branches) {
      if (branch.max_new_tokens == 0) {
        sequence.tree->waiting.push_back({&branch, branch.tokens});
      } else if (generate(request, branch, next_position, token) == Continues::yes) {
        sequence.tree->waiting.push_back({&branch, {token}});
      }
    }
  }
}

void Scorer::record(Row& row, std::size_t token_idx, TokenId token, float logprob, TokenId argmax) {
  MOEBIUS_EXPECT(token_idx < row.token_logprobs.size());
  row.token_logprobs[token_idx] = logprob;
  if (token != argmax) row.is_greedy = false;
  const auto width = static_cast<std::size_t>(row.topk_width);
  if (width > 0) {
    reader_.top(std::span(row.topk_ids).subspan(token_idx * width, width),
                std::span(row.topk_logprobs).subspan(token_idx * width, width));
  }
}

Scorer::Continues Scorer::generate(ActiveRequest& request, const BranchPlan& branch, std::int32_t position, TokenId& token) {
  const SamplingOptions& sampling = request.plan.sampling;
  Row& row = request.plan.rows[static_cast<std::size_t>(branch.row_idx)];
  Generation& generation = request.generations[static_cast<std::size_t>(branch.row_idx)];
  // The row's name, not its place in the input: a shuffled input draws the same tokens.
  const std::uint64_t row_key = xxh3_64(row.custom_id, static_cast<std::uint64_t>(row.choice_idx));
  const double uniform = philox_uniform(sampling.seed.value_or(job_seed_), row_key, static_cast<std::uint32_t>(position));
  token = reader_.sample(sampling, uniform);

  row.token_ids.push_back(token);
  row.token_logprobs.push_back(0.0F);
  row.topk_ids.resize(row.topk_ids.size() + static_cast<std::size_t>(row.topk_width), -1);
  row.topk_logprobs.resize(row.topk_ids.size());
  record(row, row.token_ids.size() - 1, token, reader_.log_prob(token), reader_.argmax());
  const double now = now_s();
  if (generation.num_new > 0) inter_token_times_.add(now - generation.newest_token_s);
  generation.newest_token_s = now;
  ++generation.num_new;

  if (std::find(eos_tokens_.begin(), eos_tokens_.end(), token) != eos_tokens_.end()) {
    row.finish_reason = FinishReason::stop;
    return Continues::no;
  }
  const std::size_t old_size = generation.text.size();
  generation.text += generation.decoder.push(tokenizer_, token, model::SkipSpecial::yes);
  if (cut_at_stop(generation, old_size, sampling.stop)) {
    row.finish_reason = FinishReason::stop;
    return Continues::no;
  }
  if (generation.num_new >= branch.max_new_tokens) {
    row.finish_reason = FinishReason::length;
    return Continues::no;
  }
  return Continues::yes;
}

bool Scorer::cut_at_stop(Generation& generation, std::size_t old_size, const std::vector<std::string>& stop) const {
  // A stop string may begin in an earlier token, but it must end in the newest one.
  std::string longer;
  const std::string_view pending = generation.decoder.pending(tokenizer_);
  if (!pending.empty()) longer = generation.text + std::string(pending);
  const std::string& text = pending.empty() ? generation.text : longer;
  std::size_t cut = std::string::npos;
  for (const std::string& end : stop) {
    if (end.empty()) continue;
    const std::size_t from = old_size >= end.size() - 1 ? old_size - (end.size() - 1) : 0;
    cut = std::min(cut, text.find(end, from));
  }
  if (cut == std::string::npos) return false;
  generation.text = text.substr(0, cut);
  generation.decoder = {};
  return true;
}

std::vector<Row> Scorer::finish(ActiveRequest& request) const {
  for (std::size_t i = 0; i < request.plan.rows.size(); ++i) {
    Row& row = request.plan.rows[i];
    if (!succeeded(row.status)) {
      row.is_greedy = false;
      continue;
    }
    double sum = 0.0;
    for (const float logprob : row.token_logprobs) {
      if (!std::isnan(logprob)) sum += static_cast<double>(logprob);
    }
    row.sum_logprob = sum;
    Generation& generation = request.generations[i];
    if (row.finish_reason != FinishReason::none) {
      row.num_output_tokens = generation.num_new;
      row.text = generation.text + generation.decoder.finish(tokenizer_);
      row.num_bytes = static_cast<std::int64_t>(row.text.size());
    }
  }
  return std::move(request.plan.rows);
}

}  // namespace moebius::ranks
