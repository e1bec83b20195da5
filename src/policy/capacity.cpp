// SPDX-License-Identifier: Apache-2.0
#include "policy/capacity.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.hpp"
#include "base/random.hpp"

namespace moebius::policy {
namespace {

constexpr float no_number = std::numeric_limits<float>::quiet_NaN();

float ranked(float value) { return std::isnan(value) ? -std::numeric_limits<float>::infinity() : value; }

std::size_t at(std::int32_t token, int width, std::int32_t column) {
  return static_cast<std::size_t>(token) * static_cast<std::size_t>(width) + static_cast<std::size_t>(column);
}

}  // namespace

void CapacityCounters::add(const CapacityCounters& other) {
  micro_batches += other.micro_batches;
  cut += other.cut;
  kept += other.kept;
  dropped += other.dropped;
  added += other.added;
}

Capacity::Capacity(const Job::Capacity& options, WeightRule rule, CapacityGroups groups, std::uint64_t seed)
    : options_(options), rule_(rule), groups_(std::move(groups)), seed_(seed) {
  MOEBIUS_EXPECT(options_.method != CapacityMethod::off && groups_.group_of.size() == groups_.local.size());
}

int Capacity::most_pairs(const Job::Capacity& options, int experts_per_token, int num_experts, int num_local) {
  const bool adds = options.method == CapacityMethod::expanded_drop || options.method == CapacityMethod::one_shot;
  return adds ? std::min(num_experts, experts_per_token + num_local) : experts_per_token;
}

std::int64_t Capacity::limit(int layer, std::int64_t num_tokens, int experts_per_token, int num_experts) const {
  const double mean = static_cast<double>(num_tokens * experts_per_token) / num_experts;
  if (num_tokens == 0 || mean < options_.min_mean_load) return 0;
  const auto idx = static_cast<std::size_t>(layer);
  const double gamma = idx < options_.layer_gamma.size() ? options_.layer_gamma[idx] : options_.gamma;
  // A product that is a whole number but for rounding is that number.
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::ceil(gamma * mean - 1e-9)));
}

bool Capacity::stays_before(const Pair& a, const Pair& b) {
  if (a.rank != b.rank) return a.rank > b.rank;
  return a.token != b.token ? a.token < b.token : a.expert < b.expert;
}

float Capacity::rank_of(const RoutedBatch& batch, int layer, std::int32_t token, std::int32_t expert, float score) const {
  switch (options_.metric) {
    case CapacityMetric::score: return ranked(score);
    case CapacityMetric::order: return -static_cast<float>(token);
    case CapacityMetric::reverse: return static_cast<float>(token);
    case CapacityMetric::random:
      return static_cast<float>(philox_uniform(seed_, at(token, batch.num_experts, expert), static_cast<std::uint32_t>(layer)));
  }
  return 0;
}

float Capacity::score(const RoutedBatch& batch, std::int32_t token, std::int32_t expert) const {
  return batch.scores[at(token, batch.num_experts, expert)];
}

std::size_t Capacity::bin_of(std::int32_t expert) const {
  return static_cast<std::size_t>(options_.scope == CapacityScope::expert ? expert : groups_.group_of[static_cast<std::size_t>(expert)]);
}

bool Capacity::chose(const RoutedBatch& batch, std::int32_t token, std::int32_t expert) const {
  const auto ids = batch.ids.subspan(at(token, batch.experts_per_token, 0), static_cast<std::size_t>(batch.experts_per_token));
  return std::ranges::find(ids, expert) != ids.end();
}

Capacity::Result Capacity::cut(int layer, const RoutedBatch& batch) {
  MOEBIUS_EXPECT(batch.ids.size() == batch.num_tokens() * static_cast<std::size_t>(batch.experts_per_token) && batch.ids.size() == batch.weights.size());
  MOEBIUS_EXPECT(groups_.group_of.size() == static_cast<std::size_t>(batch.num_experts));
  MOEBIUS_EXPECT(options_.method == CapacityMethod::drop || batch.scores.size() == batch.num_tokens() * static_cast<std::size_t>(batch.num_experts));
  const auto num_counted = std::ranges::count_if(batch.counted, [](std::uint8_t counted) { return counted != 0; });
  const std::int64_t most = limit(layer, num_counted, batch.experts_per_token, batch.num_experts);
  ++counters_.micro_batches;
  kept_.clear();
  rest_.clear();
  gather_chosen(layer, batch);
  if (most == 0) {
    kept_ = candidates_;
  } else {
    ++counters_.cut;
    room_.assign(static_cast<std::size_t>(options_.scope == CapacityScope::expert ? batch.num_experts : groups_.num_groups), 0);
    for (std::int32_t expert = 0; expert < batch.num_experts; ++expert) room_[bin_of(expert)] += most;
    if (options_.method == CapacityMethod::one_shot) gather_local(layer, batch);
    keep_best(candidates_);
    if (options_.method == CapacityMethod::reroute) reroute(batch);
    if (options_.method == CapacityMethod::expanded_drop) {
      candidates_.clear();
      gather_local(layer, batch);
      keep_best(candidates_);
    }
  }
  sort_out(batch);
  return {first_, ids_, weights_};
}

void Capacity::gather_chosen(int layer, const RoutedBatch& batch) {
  candidates_.clear();
  for (std::int32_t token = 0; token < static_cast<std::int32_t>(batch.num_tokens()); ++token) {
    if (batch.counted[static_cast<std::size_t>(token)] == 0) continue;
    for (int k_idx = 0; k_idx < batch.experts_per_token; ++k_idx) {
      const std::size_t i = at(token, batch.experts_per_token, k_idx);
      // Beside pairs that the router did not choose, only scores before top-k compare.
      const float by = options_.method == CapacityMethod::one_shot ? score(batch, token, batch.ids[i]) : batch.weights[i];
      candidates_.push_back({token, batch.ids[i], rank_of(batch, layer, token, batch.ids[i], by), batch.weights[i]});
    }
  }
}

void Capacity::gather_local(int layer, const RoutedBatch& batch) {
  const bool by_metric = options_.method == CapacityMethod::one_shot;
  for (std::int32_t expert = 0; expert < batch.num_experts; ++expert) {
    if (groups_.local[static_cast<std::size_t>(expert)] == 0) continue;
    for (std::int32_t token = 0; token < static_cast<std::int32_t>(batch.num_tokens()); ++token) {
      if (batch.counted[static_cast<std::size_t>(token)] == 0 || chose(batch, token, expert)) continue;
      const float value = score(batch, token, expert);
      candidates_.push_back({token, expert, by_metric ? rank_of(batch, layer, token, expert, value) : ranked(value), no_number});
    }
  }
}

void Capacity::keep_best(std::vector<Pair>& candidates) {
  std::ranges::sort(candidates, stays_before);
  for (const Pair& pair : candidates) {
    std::int64_t& room = room_[bin_of(pair.expert)];
    (room > 0 ? kept_ : rest_).push_back(pair);
    room -= room > 0 ? 1 : 0;
  }
}

void Capacity::reroute(const RoutedBatch& batch) {
  std::vector<std::vector<std::int32_t>> held(batch.num_tokens());  // experts that a token has, had, or tried
  for (std::size_t i = 0; i < batch.ids.size(); ++i) held[i / static_cast<std::size_t>(batch.experts_per_token)].push_back(batch.ids[i]);
  std::vector<Pair> waiting = rest_;
  for (int round = 0; round < options_.rounds && !waiting.empty(); ++round) {
    std::vector<Pair> still;
    for (const Pair& pair : waiting) {
      auto& tried = held[static_cast<std::size_t>(pair.token)];
      std::int32_t best = -1;
      for (std::int32_t expert = 0; expert < batch.num_experts; ++expert) {
        if (std::ranges::find(tried, expert) != tried.end()) continue;
        if (best < 0 || ranked(score(batch, pair.token, expert)) > ranked(score(batch, pair.token, best))) best = expert;
      }
      if (best < 0) continue;
      tried.push_back(best);
      if (std::int64_t& room = room_[bin_of(best)]; room > 0) {
        --room;
        kept_.push_back({pair.token, best, 0, no_number});
      } else {
        still.push_back(pair);
      }
    }
    waiting = std::move(still);
  }
}

void Capacity::sort_out(const RoutedBatch& batch) {
  const auto num_tokens = batch.num_tokens();
  std::int64_t num_counted_pairs = 0;
  for (std::int32_t token = 0; token < static_cast<std::int32_t>(num_tokens); ++token) {
    if (batch.counted[static_cast<std::size_t>(token)] != 0) {
      num_counted_pairs += batch.experts_per_token;
      continue;
    }
    for (int k_idx = 0; k_idx < batch.experts_per_token; ++k_idx) {
      const std::size_t i = at(token, batch.experts_per_token, k_idx);
      kept_.push_back({token, batch.ids[i], 0, batch.weights[i]});
    }
  }
  std::ranges::sort(kept_, {}, [](const Pair& pair) { return std::pair(pair.token, pair.expert); });
  first_.assign(num_tokens + 1, 0);
  ids_.clear();
  weights_.clear();
  std::int64_t num_stayed = 0, num_added = 0;
  for (const Pair& pair : kept_) {
    ++first_[static_cast<std::size_t>(pair.token) + 1];
    ids_.push_back(pair.expert);
    weights_.push_back(pair.weight);
    if (std::isnan(pair.weight) && !chose(batch, pair.token, pair.expert)) ++num_added;
    else num_stayed += batch.counted[static_cast<std::size_t>(pair.token)] != 0 ? 1 : 0;
  }
  std::partial_sum(first_.begin(), first_.end(), first_.begin());
  for (std::size_t token = 0; token < num_tokens; ++token) weigh(batch, token);
  counters_.kept += num_stayed;
  counters_.dropped += num_counted_pairs - num_stayed;
  counters_.added += num_added;
}

void Capacity::weigh(const RoutedBatch& batch, std::size_t token) {
  const auto k = static_cast<std::size_t>(batch.experts_per_token);
  const auto ids = batch.ids.subspan(token * k, k);
  const auto weights = batch.weights.subspan(token * k, k);
  const auto new_ids = std::span(ids_).subspan(first_[token], first_[token + 1] - first_[token]);
  const auto new_weights = std::span(weights_).subspan(first_[token], new_ids.size());
  if (std::ranges::equal(ids, new_ids)) return;  // to the bit as without capacity
  // What a score is worth as a weight: as for the heaviest pair that the router chose.
  const auto heaviest = static_cast<std::size_t>(std::ranges::max_element(weights, {}, ranked) - weights.begin());
  float before = 0, after = 0;
  for (const float weight : weights) before += weight;
  for (std::size_t i = 0; i < new_ids.size(); ++i) {
    if (!chose(batch, static_cast<std::int32_t>(token), new_ids[i])) {
      const float reference = score(batch, static_cast<std::int32_t>(token), ids[heaviest]);
      const float here = score(batch, static_cast<std::int32_t>(token), new_ids[i]);
      new_weights[i] = reference > 0 ? weights[heaviest] * (here / reference) : 0.0F;
    }
    after += new_weights[i];
  }
  if (rule_ == WeightRule::as_they_are || !(after > 0)) return;
  for (float& weight : new_weights) weight *= before / after;
}

void softmax_scores(std::span<const float> logits, std::span<float> scores) {
  const float largest = *std::ranges::max_element(logits);
  float sum = 0;
  for (std::size_t e = 0; e < logits.size(); ++e) sum += scores[e] = std::exp(logits[e] - largest);
  for (float& value : scores) value /= sum;
}

void sigmoid_scores(std::span<const float> logits, std::span<float> scores) {
  for (std::size_t e = 0; e < logits.size(); ++e) scores[e] = 1.0F / (1.0F + std::exp(-logits[e]));
}

}  // namespace moebius::policy
