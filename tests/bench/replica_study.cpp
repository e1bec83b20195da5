// SPDX-License-Identifier: Apache-2.0
// Replica routers beside each other on synthetic loads: 128 experts, top-8, 8 ranks, experts drawn from a Zipf distribution, replicas
// and placement by EPLB from a history of the same distribution. Prints what a micro-batch activates and how many rows it brings, on
// the rank with most and in the mean. Decode is few tokens; the last columns of many tokens are where gathering rows loses.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "policy/placement_planners.hpp"
#include "policy/replica_router.hpp"

namespace {

using namespace moebius;
using namespace moebius::policy;

constexpr int num_experts = 128, num_ranks = 8, k = 8, num_micro_batches = 60, history_tokens = 500;
constexpr std::uint64_t seed = 9;

class Tokens {
 public:
  explicit Tokens(double exponent) : random_(seed) {
    for (int e = 0; e < num_experts; ++e) weights_.push_back(std::pow(1.0 + e, -exponent));
    std::ranges::shuffle(weights_, random_);
  }
  /// Top-k of each token, drawn without replacement.
  std::vector<std::int32_t> draw(int num_tokens) {
    std::vector<std::int32_t> experts;
    for (int t = 0; t < num_tokens; ++t) {
      std::vector<double> left = weights_;
      for (int i = 0; i < k; ++i) {
        std::discrete_distribution<std::int32_t> one(left.begin(), left.end());
        experts.push_back(one(random_));
        left[static_cast<std::size_t>(experts.back())] = 0;
      }
    }
    return experts;
  }

 private:
  std::mt19937_64 random_;
  std::vector<double> weights_;
};

void study(double exponent, int num_tokens, double ratio, ReplicaRouterKind kind) {
  Tokens tokens(exponent);
  std::vector<std::int64_t> load(num_experts);
  for (const std::int32_t e : tokens.draw(history_tokens)) ++load[static_cast<std::size_t>(e)];
  std::vector<RankId> ranks;
  for (int r = 0; r < num_ranks; ++r) ranks.emplace_back(r);
  const TablePlacement placement({eplb_map(load, {num_physical(num_experts, ratio, num_ranks), 1, 1, num_ranks})}, {num_experts}, ranks);
  ReplicaRouter router(placement, 1, num_experts, num_ranks, 0, {.ratio = ratio, .router = kind, .knee_rows = 1e9});
  for (int batch = 0; batch < num_micro_batches; ++batch) (void)router.route(LayerId(0), tokens.draw(num_tokens));
  const ActivationCounters& counters = router.counters();
  double activated = 0, rows = 0;
  for (std::size_t r = 0; r < num_ranks; ++r) {
    activated += static_cast<double>(counters.activated[r]);
    rows += static_cast<double>(counters.rows[r]);
  }
  const double batches = num_micro_batches;
  std::printf("%5.1f %7d %9.3f  %-13s %14.2f %14.2f %10.1f %10.1f\n", exponent, num_tokens, ratio, ratio == 1.0 ? "no replicas" : to_string(kind),
              static_cast<double>(counters.largest_activated[0]) / batches, activated / num_ranks / batches,
              static_cast<double>(counters.largest_rows[0]) / batches, rows / num_ranks / batches);
}

}  // namespace

int main() {
  std::printf("%5s %7s %9s  %-13s %14s %14s %10s %10s\n", "Zipf", "tokens", "replicas", "router", "activated max", "activated mean", "rows max", "rows mean");
  for (const double exponent : {0.0, 0.8, 1.2}) {
    for (const int num_tokens : {8, 32, 64, 256}) {
      study(exponent, num_tokens, 1.0, ReplicaRouterKind::even);
      for (const double ratio : {1.125, 1.25, 1.5}) {
        for (const auto kind : {ReplicaRouterKind::even, ReplicaRouterKind::metro, ReplicaRouterKind::fewest_first, ReplicaRouterKind::exact}) {
          study(exponent, num_tokens, ratio, kind);
        }
      }
    }
  }
}
