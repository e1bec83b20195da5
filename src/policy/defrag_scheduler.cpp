// SPDX-License-Identifier: Apache-2.0
#include "policy/defrag_scheduler.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.hpp"
#include "policy/layer_schedulers.hpp"

namespace moebius::policy {

DefragScheduler::DefragScheduler(double delta, int lookahead, Lookback lookback) : lookback_(lookback) {
  MOEBIUS_EXPECT(std::isfinite(delta) && delta > 0.0 && lookahead >= 0);
  weights_.reserve(static_cast<std::size_t>(lookahead));
  double weight = 1.0;
  for (int k = 1; k <= lookahead; ++k) weights_.push_back(weight *= delta);
}

std::optional<QueueRef> DefragScheduler::pick(const QueueTable& queues, double /*now_s*/) {
  if (queues.total_rows() == 0) return std::nullopt;
  measure_loads(queues);
  std::optional<QueueRef> best;
  double best_score = 0.0;
  for (const QueueRef q : queues.non_empty()) {
    double& stage_score = stage_scores_[q.stage];
    if (std::isnan(stage_score)) stage_score = lookahead_score(q.stage);
    const double score = stage_score + static_cast<double>(queues.rows(q));
    if (!best || score > best_score || (score == best_score && stands_before(q, *best))) {
      best = q;
      best_score = score;
    }
  }
  if (lookback_ == Lookback::on) remember(queues);
  return best;
}

void DefragScheduler::measure_loads(const QueueTable& queues) {
  const auto num_stages = static_cast<std::size_t>(queues.num_stages());
  if (loads_.size() != num_stages) {
    loads_.resize(num_stages);
    stage_scores_.resize(num_stages);
    history_.assign(num_stages * lookback_picks, 0);
    history_sums_.assign(num_stages, 0);
    num_remembered_ = next_slot_ = 0;
  }
  for (int stage = 0; stage < queues.num_stages(); ++stage) {
    auto rows = static_cast<double>(queues.stage_rows(stage));
    if (num_remembered_ > 0) rows += static_cast<double>(history_sums_[stage]) / num_remembered_;
    loads_[stage] = queues.num_queues(stage) > 0 ? rows / queues.num_queues(stage) : 0.0;
  }
  std::fill(stage_scores_.begin(), stage_scores_.end(), std::numeric_limits<double>::quiet_NaN());
}

double DefragScheduler::lookahead_score(int stage) const {
  double score = 0.0;
  std::size_t ahead = static_cast<std::size_t>(stage);
  for (const double weight : weights_) {
    if (++ahead == loads_.size()) ahead = 0;
    score += weight * loads_[ahead];
  }
  return score;
}

void DefragScheduler::remember(const QueueTable& queues) {
  const auto num_stages = static_cast<std::size_t>(queues.num_stages());
  std::int64_t* slot = history_.data() + static_cast<std::size_t>(next_slot_) * num_stages;
  for (std::size_t stage = 0; stage < num_stages; ++stage) {
    const std::int64_t rows = queues.stage_rows(static_cast<int>(stage));
    history_sums_[stage] += rows - slot[stage];  // a slot not used yet holds zeros
    slot[stage] = rows;
  }
  next_slot_ = (next_slot_ + 1) % lookback_picks;
  num_remembered_ = std::min(num_remembered_ + 1, lookback_picks);
}

}  // namespace moebius::policy
