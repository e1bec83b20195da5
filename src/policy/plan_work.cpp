// SPDX-License-Identifier: Apache-2.0
#include "policy/plan_work.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

/// Sums over requests whose lengths begin with the same binary digit.
struct Bucket {
  double sequences = 0, tokens = 0, scored = 0, kv = 0, pairs = 0;
  double segment_tokens = 0;  // weighed by tokens
};

int bucket_of(double tokens) { return static_cast<int>(std::floor(std::log2(std::max(tokens, 1.0)))); }

WorkPhase phase_of(WorkPhase::Kind kind, const Bucket& bucket, double most_batch_tokens) {
  return {.kind = kind,
          .sequences = bucket.sequences,
          .tokens_per_sequence = bucket.tokens / bucket.sequences,
          .segment_tokens = bucket.segment_tokens / bucket.tokens,
          .kv_per_token = bucket.kv / bucket.tokens,
          .pairs_per_token = bucket.pairs / bucket.tokens,
          .scored_per_token = bucket.scored / bucket.tokens,
          .most_batch_tokens = std::max(1.0, std::floor(most_batch_tokens))};
}

void add_prompts(const RequestShape& request, const Job::Limits& limits, Bucket& bucket) {
  const double length = request.prompt_tokens, segment = std::min<double>(length, limits.segment_tokens);
  const double tokens = request.count * length;
  bucket.sequences += request.count;
  bucket.tokens += tokens;
  bucket.scored += request.count * (request.scored_tokens + (request.new_tokens > 0 ? 1 : 0));
  bucket.segment_tokens += tokens * segment;
  // Segments end at s, 2 s, .. length, and each reads all positions up to its end.
  bucket.kv += tokens * (length + segment) / 2 / segment;
  bucket.pairs += tokens * (length + 1) / 2;
}

/// The first new token comes out of the prompt, and the last is never fed.
void add_generation(const RequestShape& request, Bucket& bucket) {
  const double sequences = request.count * request.choices, steps = request.new_tokens - 1, tokens = sequences * steps, seen = request.prompt_tokens + (steps + 1) / 2;
  bucket.sequences += sequences;
  bucket.tokens += tokens;
  bucket.scored += tokens;
  bucket.segment_tokens += tokens;
  bucket.kv += tokens * seen;
  bucket.pairs += tokens * seen;
}

}  // namespace

std::vector<WorkPhase> phases_of(std::span<const RequestShape> requests, const Job::Limits& limits) {
  MOEBIUS_EXPECT(limits.kv_tokens > 0);
  std::map<int, Bucket> prompts, generations;
  std::map<int, double> positions;  // of a generation's bucket: KV of one of its sequences, the most
  for (const RequestShape& request : requests) {
    if (request.count <= 0 || request.prompt_tokens < 1) continue;
    add_prompts(request, limits, prompts[bucket_of(request.prompt_tokens)]);
    if (request.new_tokens <= 1) continue;
    const int bucket = bucket_of(request.prompt_tokens + request.new_tokens);
    add_generation(request, generations[bucket]);
    positions[bucket] = std::max(positions[bucket], request.prompt_tokens + request.new_tokens);
  }
  std::vector<WorkPhase> phases;
  for (auto bucket = prompts.rbegin(); bucket != prompts.rend(); ++bucket) {  // longest first, as lines are claimed
    phases.push_back(phase_of(WorkPhase::Kind::prompts, bucket->second, limits.max_tokens_in_flight));
  }
  for (auto bucket = generations.rbegin(); bucket != generations.rend(); ++bucket) {
    const double fit = static_cast<double>(limits.kv_tokens) / positions[bucket->first];
    phases.push_back(phase_of(WorkPhase::Kind::generation, bucket->second, std::min<double>(limits.max_tokens_in_flight, fit)));
  }
  return phases;
}

WorkBatch batch_of(const WorkPhase& phase, int attention_ranks) {
  MOEBIUS_EXPECT(attention_ranks >= 1 && phase.sequences > 0);
  // Many prompts even out as they are claimed one after the other.
  const double sequences = std::ceil(phase.sequences / attention_ranks);
  const double tokens = sequences * phase.tokens_per_sequence;
  if (phase.kind == WorkPhase::Kind::generation) {
    // A token of each sequence at a time.
    const double waves = std::ceil(sequences / phase.most_batch_tokens), batch = sequences / waves;
    return {.tokens = batch, .count = tokens / batch};
  }
  const double count = std::ceil(tokens / phase.most_batch_tokens - 1e-9);
  return {.tokens = tokens / count, .count = count};
}

}  // namespace moebius::policy
