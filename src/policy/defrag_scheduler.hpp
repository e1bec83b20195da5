// SPDX-License-Identifier: Apache-2.0
#pragma once
// `defrag`, Algorithm 1 of AMoE (arXiv 2505.08944): prefer the queue behind which the most work stands
// in the next stages, so that scattered tokens run into one another and make larger batches.
//   LScore(b)  = sum over k = 1..K of delta^k * load(b + k)      stage indices are cyclic
//   load(s)    = (rows of stage s + history(s)) / (queues of stage s)      0 where it has no queue
//   Score(b,e) = LScore(b) + rows(b,e)      for queues with rows; the largest wins
// history(s) is 0, or with lookback the mean number of rows that stood in stage s at the last 10 picks.
// The paper gives no constants; delta = 0.8, K = 7 and the lookback are those of the authors' code.
// Made by make_scheduler. O(K * stages + non-empty queues) a pick, no allocation after the first pick.

#include "policy/scheduler.hpp"

namespace moebius::policy {

enum class Lookback : std::uint8_t { off, on };

class DefragScheduler final : public Scheduler {
 public:
  static constexpr int lookback_picks = 10;

  /// delta > 0 and finite, lookahead >= 0.
  DefragScheduler(double delta, int lookahead, Lookback lookback);
  std::optional<QueueRef> pick(const QueueTable& queues, double now_s) override;

 private:
  void measure_loads(const QueueTable& queues);
  [[nodiscard]] double lookahead_score(int stage) const;
  void remember(const QueueTable& queues);

  std::vector<double> weights_;  // [lookahead] delta^1 .. delta^K
  Lookback lookback_;
  std::vector<double> loads_;         // [stages] of this pick
  std::vector<double> stage_scores_;  // [stages] LScore of this pick; NaN: not asked for yet
  std::vector<std::int64_t> history_;       // [lookback_picks, stages] ring of rows per stage
  std::vector<std::int64_t> history_sums_;  // [stages]
  int num_remembered_ = 0, next_slot_ = 0;
};

}  // namespace moebius::policy
