// SPDX-License-Identifier: Apache-2.0
#pragma once
// Seconds of the stages of a layer, as a plan expects them: means over random routing, from a device model and a link model.
// Pure. Experts are chosen evenly and at random, or those of the busiest rank as often as PlanLimits says; the rows of an expert are then
// nearly a Poisson number, and a call pays for whole tiles and whole weights of that number, not of its mean.

#include <functional>
#include <vector>

#include "policy/device_model.hpp"
#include "policy/link_model.hpp"
#include "policy/plan_work.hpp"

namespace moebius::policy {

/// Pairs that reach expert ranks, as multiples of what the router sends to one in the mean.
struct BusiestRank {
  double of_layer = 1;  ///< to the busiest of a layer, in the mean over layers: what ranks wait for that wait in each layer
  double of_run = 1;    ///< to the busiest of all layers together: who has much to do in one layer catches up in another where nobody waits
  double mean = 1;      ///< to any: less than 1 where a capacity drops pairs
  double full = 0;      ///< where a capacity fills the experts of a rank up with the rank's own tokens: with as many of all ranks it would hold so much
  /// What the rank computes that `sent` pairs are sent to, as one of so many.
  [[nodiscard]] double computed(double sent, int ranks) const { return sent + (full > sent ? (full - sent) / ranks : 0.0); }
};

/// How a rank cuts its work.
struct PlanLimits {
  double micro_batch_tokens = 256;  ///< most of one attention stage
  double pipeline_tokens = 1e18;    ///< the same of a pipeline, whose micro-batches are cut between segments
  double expert_rows = 256;         ///< most of one expert call
  bool grouped_calls = true;        ///< asynchronous: the experts of a layer are one call, and their outputs one message to each source
  double message_pairs = 1e18;      ///< most (row, expert) pairs of one message to the experts
  /// How unevenly so many expert ranks are loaded in a phase; empty: evenly in the mean.
  std::function<BusiestRank(int expert_ranks, const WorkPhase& phase)> imbalance = {};
};

class PlanTimes {
 public:
  PlanTimes(const StageTimes& times, const Link& link, const PlanLimits& limits, const WorkPhase& phase)
      : times_(times), link_(link), limits_(limits), phase_(phase), config_(times.model().config) {}

  /// Attention, router and combine of one layer, with every micro-batch a stage; and with all tokens one micro-batch.
  [[nodiscard]] double attention_s(double tokens) const;
  [[nodiscard]] double attention_of_one_s(double tokens) const;
  [[nodiscard]] double shared_s(double tokens) const;
  [[nodiscard]] double shared_of_one_s(double tokens) const;
  [[nodiscard]] double dense_layer_s(double tokens) const;
  [[nodiscard]] double head_s(double tokens) const;

  /// The experts of a layer of one of `expert_ranks` ranks, for `tokens` tokens of all attention ranks.
  enum class Overheads : std::uint8_t { each_call, once };
  /// The busiest of the run, in the mean of its calls; the slowest of a layer, where all wait for all, so that routing that is even in the
  /// mean is not enough; or of the calls of a pipeline, which waits for each but not with all of a layer.
  enum class WhichRank : std::uint8_t { busiest_of_run, slowest_of_layer, slowest_of_pipeline };
  [[nodiscard]] double experts_s(double tokens, int expert_ranks, Overheads overheads, WhichRank which) const;

  /// Of `tokens` tokens to all of `expert_ranks`, wherever they are, in the mean over routing; and back.
  [[nodiscard]] double dispatch_bytes(double tokens, int expert_ranks) const;
  [[nodiscard]] double outputs_bytes(double tokens, int expert_ranks) const;
  /// One message to each rank, and back one for each expert call or rank: out of an attention rank or into an expert rank, whichever takes longer.
  [[nodiscard]] double dispatch_s(double tokens, int attention_ranks, int expert_ranks, double away) const;
  enum class Messages : std::uint8_t { of_calls, of_ranks };
  [[nodiscard]] double outputs_s(double tokens, int attention_ranks, int expert_ranks, double away, Messages messages = Messages::of_calls) const;
  /// Between all of `ranks` ranks at once, a message for each pair of ranks, until the last has all.
  [[nodiscard]] double exchange_out_s(double tokens, int ranks) const;
  [[nodiscard]] double exchange_back_s(double tokens, int ranks) const;
  /// Both of separate attention and expert ranks, with nothing between them.
  [[nodiscard]] double exchanges_of_split_s(double tokens, int attention_ranks, int expert_ranks) const;
  [[nodiscard]] double latency_s() const { return link_.latency_s; }

 private:
  /// Seconds and calls of one expert that gets `mean_rows` rows in the mean.
  struct ExpertMean {
    double seconds = 0, calls = 0, variance = 0;  ///< of the seconds
  };
  [[nodiscard]] ExpertMean expert_mean(double mean_rows) const;
  [[nodiscard]] ExpertMean expert_of(double rows) const;
  [[nodiscard]] double link_s(double messages, double bytes) const { return messages * link_.latency_s + bytes / link_.bytes_per_s; }
  [[nodiscard]] BusiestRank imbalance(int expert_ranks) const { return limits_.imbalance ? limits_.imbalance(expert_ranks, phase_) : BusiestRank{}; }
  /// Of `tokens` tokens to one of `expert_ranks`, which gets `busy` times the mean of their pairs.
  [[nodiscard]] double bytes_to_rank(double tokens, int expert_ranks, double busy) const;
  /// What the busiest of all expert ranks gets in an exchange, as a multiple of the mean, which is so many pairs.
  [[nodiscard]] double busiest_in_exchange(double mean_pairs, int expert_ranks) const;
  [[nodiscard]] double chosen_per_expert(double tokens) const { return tokens * config_.experts_per_token / config_.num_experts; }

  const StageTimes& times_;
  const Link& link_;
  const PlanLimits& limits_;
  const WorkPhase& phase_;
  const ModelConfig& config_;
};

}  // namespace moebius::policy
