// SPDX-License-Identifier: Apache-2.0
#include "policy/gem.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

/// Rows of one replica of each expert at each step. // [experts][steps]
using Demand = std::vector<std::vector<double>>;

Demand demand_of(const LayerTrace& trace, std::span<const int> counts) {
  Demand demand(static_cast<std::size_t>(trace.num_experts), std::vector<double>(static_cast<std::size_t>(trace.num_steps)));
  for (int e = 0; e < trace.num_experts; ++e) {
    for (int s = 0; s < trace.num_steps; ++s) {
      const auto expert = static_cast<std::size_t>(e);
      demand[expert][static_cast<std::size_t>(s)] = static_cast<double>(trace.at(s, e)) / std::max(counts[expert], 1);
    }
  }
  return demand;
}

std::vector<int> counts_of(const LayerMap& map, int num_experts) {
  std::vector<int> counts(static_cast<std::size_t>(num_experts));
  for (const std::int32_t id : map.expert) {
    if (id >= 0) ++counts[static_cast<std::size_t>(id)];
  }
  return counts;
}

std::vector<int> counts_of(std::span<const Replica> replicas, int num_experts) {
  std::vector<int> counts(static_cast<std::size_t>(num_experts));
  for (const Replica& replica : replicas) ++counts[static_cast<std::size_t>(replica.expert)];
  return counts;
}

/// Rows and time of each rank at each step, and the score if some of it were different.
class Ledger {
 public:
  Ledger(const Demand& demand, int num_steps, std::span<const SpeedCurve> curves)
      : demand_(demand), curves_(curves), num_steps_(static_cast<std::size_t>(num_steps)), rows_(num_steps_ * curves.size()),
        seconds_(rows_.size()), slowest_(num_steps_) {
    for (auto& slowest : slowest_) slowest.fill(curves_.size());
    for (std::size_t s = 0; s < num_steps_; ++s) rank_slowest(s);
  }
  void add(std::size_t rank, std::int32_t expert, double sign = 1) {
    for (std::size_t s = 0; s < num_steps_; ++s) {
      const std::size_t at = s * curves_.size() + rank;
      rows_[at] += sign * of(expert, s);
      seconds_[at] = curves_[rank].seconds(rows_[at]);
      rank_slowest(s);
    }
  }
  [[nodiscard]] double score() const {
    double sum = 0;
    for (std::size_t s = 0; s < num_steps_; ++s) sum += others(s, curves_.size(), curves_.size());
    return sum;
  }
  [[nodiscard]] double score_with(std::size_t rank, std::int32_t expert) const {
    double sum = 0;
    for (std::size_t s = 0; s < num_steps_; ++s) {
      const double here = curves_[rank].seconds(rows_[s * curves_.size() + rank] + of(expert, s));
      sum += std::max(here, others(s, rank, rank));
    }
    return sum;
  }
  /// With expert a of rank p and b of rank q exchanged; gives up once the sum has reached `limit`.
  [[nodiscard]] double score_swapped(std::size_t p, std::int32_t a, std::size_t q, std::int32_t b, double limit) const {
    double sum = 0;
    for (std::size_t s = 0; s < num_steps_ && sum < limit; ++s) {
      const double difference = of(b, s) - of(a, s);
      const double at_p = curves_[p].seconds(rows_[s * curves_.size() + p] + difference);
      const double at_q = curves_[q].seconds(rows_[s * curves_.size() + q] - difference);
      sum += std::max({at_p, at_q, others(s, p, q)});
    }
    return sum;
  }

 private:
  [[nodiscard]] double of(std::int32_t expert, std::size_t step) const { return demand_[static_cast<std::size_t>(expert)][step]; }
  /// Time of the slowest rank at a step, two of them left out.
  [[nodiscard]] double others(std::size_t step, std::size_t p, std::size_t q) const {
    for (const std::size_t rank : slowest_[step]) {
      if (rank < curves_.size() && rank != p && rank != q) return seconds_[step * curves_.size() + rank];
    }
    return 0;
  }
  void rank_slowest(std::size_t step) {
    auto& slowest = slowest_[step];
    slowest.fill(curves_.size());
    const double* seconds = seconds_.data() + step * curves_.size();
    for (std::size_t rank = 0; rank < curves_.size(); ++rank) {
      std::size_t next = rank;
      for (std::size_t& place : slowest) {
        if (place == curves_.size() || seconds[next] > seconds[place]) std::swap(place, next);
        if (next == curves_.size()) break;
      }
    }
  }

  const Demand& demand_;
  std::span<const SpeedCurve> curves_;
  std::size_t num_steps_;
  std::vector<double> rows_, seconds_;                 // [steps, ranks]
  std::vector<std::array<std::size_t, 3>> slowest_;    // [steps] the three slowest ranks
};

void fill(Ledger& ledger, const LayerMap& map) {
  for (int rank = 0; rank < map.num_ranks; ++rank) {
    for (int place = 0; place < map.num_places && map.at(rank, place) >= 0; ++place) ledger.add(static_cast<std::size_t>(rank), map.at(rank, place));
  }
}

bool holds(const LayerMap& map, int rank, std::int32_t expert) {
  for (int place = 0; place < map.num_places; ++place) {
    if (map.at(rank, place) == expert) return true;
  }
  return false;
}

struct Swap {
  int p = 0, place_p = 0, q = 0, place_q = 0;
};

/// The swap that lowers the score most; its score, or `score` where none lowers it.
double best_swap(const LayerMap& map, const Ledger& ledger, double score, Swap& best) {
  // A gain within rounding is none: the search must end.
  double best_score = score * (1 - 1e-12);
  bool found = false;
  for (int p = 0; p < map.num_ranks; ++p) {
    for (int place_p = 0; place_p < map.num_places && map.at(p, place_p) >= 0; ++place_p) {
      const std::int32_t a = map.at(p, place_p);
      for (int q = p + 1; q < map.num_ranks; ++q) {
        if (holds(map, q, a)) continue;
        for (int place_q = 0; place_q < map.num_places && map.at(q, place_q) >= 0; ++place_q) {
          const std::int32_t b = map.at(q, place_q);
          if (holds(map, p, b)) continue;
          const double swapped = ledger.score_swapped(static_cast<std::size_t>(p), a, static_cast<std::size_t>(q), b, best_score);
          if (swapped >= best_score) continue;
          best_score = swapped;
          best = {p, place_p, q, place_q};
          found = true;
        }
      }
    }
  }
  return found ? best_score : score;
}

}  // namespace

std::vector<std::int64_t> LayerTrace::totals() const {
  std::vector<std::int64_t> sums(static_cast<std::size_t>(num_experts));
  for (std::size_t i = 0; i < rows.size(); ++i) sums[i % sums.size()] += rows[i];
  return sums;
}

LayerTrace LayerTrace::steps(int begin, int end) const {
  begin = std::clamp(begin, 0, num_steps);
  end = std::clamp(end, begin, num_steps);
  const auto width = static_cast<std::ptrdiff_t>(num_experts);
  return {end - begin, num_experts, {rows.begin() + begin * width, rows.begin() + end * width}};
}

double predicted_seconds(const LayerMap& map, const LayerTrace& trace, std::span<const SpeedCurve> curves) {
  MOEBIUS_EXPECT(curves.size() == static_cast<std::size_t>(map.num_ranks));
  const Demand demand = demand_of(trace, counts_of(map, trace.num_experts));
  Ledger ledger(demand, trace.num_steps, curves);
  fill(ledger, map);
  return ledger.score();
}

double max_over_mean(const LayerMap& map, const LayerTrace& trace) {
  const std::vector<int> counts = counts_of(map, trace.num_experts);
  const std::vector<std::int64_t> totals = trace.totals();
  std::vector<double> load(static_cast<std::size_t>(map.num_ranks));
  for (int rank = 0; rank < map.num_ranks; ++rank) {
    for (int place = 0; place < map.num_places && map.at(rank, place) >= 0; ++place) {
      const auto e = static_cast<std::size_t>(map.at(rank, place));
      load[static_cast<std::size_t>(rank)] += static_cast<double>(totals[e]) / counts[e];
    }
  }
  const double sum = std::accumulate(load.begin(), load.end(), 0.0);
  return sum == 0 ? 1.0 : *std::ranges::max_element(load) * static_cast<double>(load.size()) / sum;
}

std::vector<double> speeds(const LayerTrace& trace, std::span<const SpeedCurve> curves) {
  const std::vector<std::int64_t> totals = trace.totals();
  const double all = static_cast<double>(std::accumulate(totals.begin(), totals.end(), std::int64_t{0}));
  const double rows = std::max(1.0, all / (std::max(trace.num_steps, 1) * static_cast<double>(curves.size())));
  std::vector<double> result;
  for (const SpeedCurve& curve : curves) result.push_back(rows / curve.seconds(rows));
  return result;
}

LayerMap score_greedy_map(std::span<const Replica> replicas, const LayerTrace& trace, std::span<const SpeedCurve> curves) {
  const Demand demand = demand_of(trace, counts_of(replicas, trace.num_experts));
  Ledger ledger(demand, trace.num_steps, curves);
  const std::vector<double> speed = speeds(trace, curves);
  const double fastest = *std::ranges::max_element(speed);
  // The score decides; of equal scores the fastest rank, by an addend below any real difference.
  const auto cost = [&](int rank, const Replica& replica, double) {
    const double score = ledger.score_with(static_cast<std::size_t>(rank), replica.expert);
    return score + (1 + score) * 1e-13 * (fastest / speed[static_cast<std::size_t>(rank)] - 1);
  };
  return assign(by_weight({replicas.begin(), replicas.end()}), static_cast<int>(curves.size()), cost,
                [&](int rank, const Replica& replica) { ledger.add(static_cast<std::size_t>(rank), replica.expert); });
}

LayerMap trace_lpt_map(std::span<const Replica> replicas, const LayerTrace& trace, std::span<const SpeedCurve> curves) {
  const std::vector<SpeedCurve> alike(curves.size(), mean_curve(curves));
  return score_greedy_map(replicas, trace, alike);
}

LayerMap improved_by_swaps(LayerMap map, const LayerTrace& trace, std::span<const SpeedCurve> curves) {
  const Demand demand = demand_of(trace, counts_of(map, trace.num_experts));
  Ledger ledger(demand, trace.num_steps, curves);
  fill(ledger, map);
  for (double score = ledger.score();;) {
    Swap swap;
    const double better = best_swap(map, ledger, score, swap);
    if (better >= score) return map;
    const std::int32_t a = map.at(swap.p, swap.place_p), b = map.at(swap.q, swap.place_q);
    const auto p = static_cast<std::size_t>(swap.p), q = static_cast<std::size_t>(swap.q);
    ledger.add(p, a, -1);
    ledger.add(p, b);
    ledger.add(q, b, -1);
    ledger.add(q, a);
    map.set(swap.p, swap.place_p, b);
    map.set(swap.q, swap.place_q, a);
    score = better;
  }
}

LayerMap gem_map(std::span<const Replica> replicas, const LayerTrace& trace, std::span<const SpeedCurve> curves) {
  const int num_ranks = static_cast<int>(curves.size());
  const auto lightest = [](int, const Replica&, double held) { return held; };
  const std::vector<LayerMap> candidates = {
      improved_by_swaps(score_greedy_map(replicas, trace, curves), trace, curves),
      improved_by_swaps(speed_lpt_map(replicas, speeds(trace, curves)), trace, curves),
      linear_map(replicas, num_ranks),
      assign(by_weight({replicas.begin(), replicas.end()}), num_ranks, lightest)};
  std::size_t best = 0;
  double best_score = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < candidates.size(); ++i) {
    const double score = predicted_seconds(candidates[i], trace, curves);
    if (score < best_score) {
      best = i;
      best_score = score;
    }
  }
  return candidates[best];
}

}  // namespace moebius::policy
