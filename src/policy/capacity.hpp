// SPDX-License-Identifier: Apache-2.0
#pragma once
// Capacity-aware routing (arXiv 2503.05066): an expert takes at most C (row, expert) pairs of a micro-batch, so that no
// rank has much more to do than the others. The one policy that changes outputs, and that by which rows share a
// micro-batch; off unless a job asks for it. Pure: the same micro-batch is cut the same way.
//   C = max(1, ceil(gamma * t * k / E))   for t counted tokens, k pairs each, E experts; no cut below min_mean_load = t k / E
//   drop           an expert keeps the C pairs that the metric ranks highest
//   expanded_drop  drop; then experts of the own group with room take the best-scoring tokens that had not chosen them
//   one_shot       both kinds of pairs are ranked together (Algorithm 2 of the paper)
//   reroute        drop; then each dropped pair tries the token's next best experts that have room (its version 1)
// Scope `device` counts by destination: a group of n experts keeps the n C best of its pairs.
// Ties go to the lower token, then to the lower expert. Other scores than numbers rank last.

#include <cstdint>
#include <span>
#include <vector>

#include "base/job.hpp"

namespace moebius::policy {

/// What the router chose for a micro-batch. Experts of a token ascend.
struct RoutedBatch {
  int num_experts = 0, experts_per_token = 0;
  std::span<const std::int32_t> ids;       // [tokens, experts_per_token]
  std::span<const float> weights;          // [tokens, experts_per_token]
  std::span<const float> scores;           // [tokens, num_experts] before top-k; empty for drop
  std::span<const std::uint8_t> counted;   // [tokens] 0: neither counted nor cut (a job's capacity.phase)
  [[nodiscard]] std::size_t num_tokens() const { return counted.size(); }
};

/// Which ranks serve the experts.
struct CapacityGroups {
  std::vector<std::int32_t> group_of;  // [num_experts] destination, 0 .. num_groups - 1
  std::vector<std::uint8_t> local;     // [num_experts] 1: of the own group
  int num_groups = 0;
};

/// Whether the model divides the weights of its top-k by their sum: then those of the pairs that stay are divided again.
enum class WeightRule : std::uint8_t { as_they_are, renormalise };

struct CapacityCounters {
  std::int64_t micro_batches = 0, cut = 0;  ///< all; those not below min_mean_load
  std::int64_t kept = 0, dropped = 0, added = 0;  ///< pairs that the router chose and that stayed, or not; other pairs
  void add(const CapacityCounters& other);
  bool operator==(const CapacityCounters&) const = default;
};

class Capacity {
 public:
  Capacity(const Job::Capacity& options, WeightRule rule, CapacityGroups groups, std::uint64_t seed);

  struct Result {
    std::span<const std::size_t> first;   // [tokens + 1] into ids and weights
    std::span<const std::int32_t> ids;    // experts of a token ascend
    std::span<const float> weights;
  };
  /// `layer` chooses gamma. Valid until the next call.
  Result cut(int layer, const RoutedBatch& batch);
  [[nodiscard]] const CapacityCounters& counters() const { return counters_; }

  /// C for a micro-batch of `num_tokens` counted tokens; 0: no cut.
  [[nodiscard]] std::int64_t limit(int layer, std::int64_t num_tokens, int experts_per_token, int num_experts) const;
  /// Most pairs that a token may end with.
  static int most_pairs(const Job::Capacity& options, int experts_per_token, int num_experts, int num_local);

 private:
  struct Pair {
    std::int32_t token = 0, expert = 0;
    float rank = 0;    // by the metric; higher stays
    float weight = 0;  // NaN: not one of the router's, the weight follows from the score
  };
  static bool stays_before(const Pair& a, const Pair& b);
  [[nodiscard]] float rank_of(const RoutedBatch& batch, int layer, std::int32_t token, std::int32_t expert, float score) const;
  [[nodiscard]] float score(const RoutedBatch& batch, std::int32_t token, std::int32_t expert) const;
  /// What an expert counts towards, and how much that takes.
  [[nodiscard]] std::size_t bin_of(std::int32_t expert) const;
  void gather_chosen(int layer, const RoutedBatch& batch);
  void gather_local(int layer, const RoutedBatch& batch);
  /// Keeps the best pairs of each bin as far as there is room; the others go to rest_.
  void keep_best(std::vector<Pair>& candidates);
  void reroute(const RoutedBatch& batch);
  void sort_out(const RoutedBatch& batch);
  void weigh(const RoutedBatch& batch, std::size_t token);
  [[nodiscard]] bool chose(const RoutedBatch& batch, std::int32_t token, std::int32_t expert) const;

  Job::Capacity options_;
  WeightRule rule_;
  CapacityGroups groups_;
  std::uint64_t seed_;
  std::vector<std::int64_t> room_;          // [experts or groups]
  std::vector<Pair> candidates_, kept_, rest_;
  std::vector<std::size_t> first_;          // [tokens + 1]
  std::vector<std::int32_t> ids_;
  std::vector<float> weights_;
  CapacityCounters counters_;
};

/// Scores of all experts from the logits of one token, as the router of the model makes them, without bias.
void softmax_scores(std::span<const float> logits, std::span<float> scores);
void sigmoid_scores(std::span<const float> logits, std::span<float> scores);

}  // namespace moebius::policy
