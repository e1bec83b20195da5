// SPDX-License-Identifier: Apache-2.0
#include "policy/plan_routing.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

namespace moebius::policy {
namespace {

/// A bin (an expert, or a rank) with room for so many rows, of which the normal number has this mean, which is its variance as Poisson's.
struct Bin {
  double kept_rows = 0;   ///< mean of min(rows, room)
  double has_room = 1;    ///< how probable it is that there are fewer rows
};

Bin bin_of(double mean, double room) {
  if (mean <= 0) return {};
  const double deviation = std::sqrt(mean), z = (room - mean) / deviation;
  const double density = std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi), above = std::erfc(z / std::numbers::sqrt2) / 2;
  return {.kept_rows = std::max(0.0, mean - deviation * (density - z * above)), .has_room = 1 - above};
}

/// Shares of all pairs that each bin keeps. Rerouted ones try as many other bins as there are rounds, popular ones more often.
std::vector<double> kept_shares(const std::vector<double>& shares, double pairs, double room, int rounds) {
  std::vector<Bin> bins;
  for (const double share : shares) bins.push_back(bin_of(share * pairs, room));
  const auto all_kept = [&] { return std::accumulate(bins.begin(), bins.end(), 0.0, [](double sum, const Bin& bin) { return sum + bin.kept_rows; }); };
  for (int round = 0; round < rounds; ++round) {
    const double dropped = pairs - all_kept();
    for (std::size_t i = 0; i < bins.size(); ++i) bins[i].kept_rows += std::min(dropped * shares[i] * bins[i].has_room, room - bins[i].kept_rows);
  }
  std::vector<double> kept;
  for (const Bin& bin : bins) kept.push_back(bin.kept_rows / pairs);
  return kept;
}

std::vector<double> by_rank(const std::vector<double>& shares, int expert_ranks) {
  std::vector<double> ranks(static_cast<std::size_t>(expert_ranks), 0.0);
  for (std::size_t e = 0; e < shares.size(); ++e) ranks[e * ranks.size() / shares.size()] += shares[e];
  return ranks;
}

/// What reaches each rank in a layer.
struct LayerLoad {
  std::vector<double> ranks;  // as shares of all pairs that the router chose
  double full = 0;            ///< what a rank would hold that is filled up
};

LayerLoad load_of(const std::vector<double>& shares, std::size_t layer, int expert_ranks, const Job::Capacity& capacity, const RouterCalls& calls) {
  const double pairs = calls.tokens * calls.experts_per_token, experts = static_cast<double>(shares.size()), mean = pairs / experts;
  std::vector<double> ranks = by_rank(shares, expert_ranks);
  if (capacity.method == CapacityMethod::off || calls.tokens < 1 || mean < capacity.min_mean_load) return {.ranks = std::move(ranks)};
  const double gamma = layer < capacity.layer_gamma.size() ? capacity.layer_gamma[layer] : capacity.gamma;
  const double room = std::max(1.0, std::ceil(gamma * mean - 1e-9)), room_of_rank = room * experts / expert_ranks;
  const int rounds = capacity.method == CapacityMethod::reroute ? capacity.rounds : 0;
  LayerLoad load;
  if (capacity.scope == CapacityScope::device) load.ranks = kept_shares(ranks, pairs, room_of_rank, rounds);
  else load.ranks = by_rank(kept_shares(shares, pairs, room, rounds), expert_ranks);
  if (capacity.method == CapacityMethod::expanded_drop || capacity.method == CapacityMethod::one_shot) load.full = room_of_rank / pairs;
  return load;
}

}  // namespace

BusiestRank linear_imbalance(const std::vector<std::vector<double>>& loads, int expert_ranks, const Job::Capacity& capacity, const RouterCalls& calls) {
  std::vector<double> of_run(static_cast<std::size_t>(expert_ranks), 0.0);
  BusiestRank sum{.of_layer = 0, .of_run = 0, .mean = 0};
  double layers = 0;
  for (std::size_t layer = 0; layer < loads.size(); ++layer) {
    std::vector<double> shares = loads[layer];
    const double all = std::accumulate(shares.begin(), shares.end(), 0.0);
    if (all <= 0) continue;
    for (double& share : shares) share /= all;
    const LayerLoad load = load_of(shares, layer, expert_ranks, capacity, calls);
    layers += 1;
    sum.of_layer += std::ranges::max(load.ranks) * expert_ranks;
    sum.mean += std::accumulate(load.ranks.begin(), load.ranks.end(), 0.0);
    sum.full += load.full * expert_ranks;
    for (std::size_t rank = 0; rank < of_run.size(); ++rank) of_run[rank] += load.ranks[rank] * expert_ranks;
  }
  if (layers == 0) return {};
  return {.of_layer = sum.of_layer / layers, .of_run = std::ranges::max(of_run) / layers, .mean = sum.mean / layers, .full = sum.full / layers};
}

}  // namespace moebius::policy
