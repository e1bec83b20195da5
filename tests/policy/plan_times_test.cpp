// SPDX-License-Identifier: Apache-2.0
#include "policy/plan_times.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

#include "policy/plan_routing.hpp"

namespace moebius::policy {
namespace {

/// A device of one operation a second, without tiles, overheads or reading; one layer of four experts.
StageTimes times_by_hand(int experts_per_token) {
  ModelSizes model{.name = "by hand", .config = {}};
  ModelConfig& config = model.config;
  config.num_layers = 1;
  config.moe_layer = {1};
  config.hidden_size = 2;
  config.num_heads = config.num_kv_heads = config.head_dim = 1;
  config.num_experts = 4;
  config.experts_per_token = experts_per_token;
  config.moe_intermediate_size = 5;
  return StageTimes({.name = "one", .flops = 1, .bytes_per_s = 1e30, .efficiency = 1, .expert_overhead_s = 7}, model);
}

struct ByHand {
  StageTimes times;
  Link link{"slow", 100, 1};
  PlanLimits limits;
  WorkPhase phase{};
  PlanTimes plan;
  ByHand(int experts_per_token, double expert_rows)
      : times(times_by_hand(experts_per_token)), limits{.micro_batch_tokens = 8, .expert_rows = expert_rows}, plan(times, link, limits, phase) {}
};

TEST(PlanTimes, ExpertsAreTheMeanOverPoissonsNumbersOfRows) {
  const ByHand by_hand(1, 3);
  const PlanTimes& plan = by_hand.plan;
  double seconds = 0, calls = 0, probability = std::exp(-2.0);  // 8 tokens: two rows of each expert in the mean
  for (int rows = 1; rows < 40; ++rows) {
    probability *= 2.0 / rows;
    seconds += probability * rows * 2 * 3 * 2 * 5;  // in proportion to rows: in several calls too
    calls += probability * std::ceil(rows / 3.0);
  }
  EXPECT_NEAR(plan.experts_s(8, 2, PlanTimes::Overheads::each_call, PlanTimes::WhichRank::busiest_of_run), 2 * seconds + 2 * calls * 7, 1e-4);
  EXPECT_NEAR(plan.experts_s(8, 2, PlanTimes::Overheads::once, PlanTimes::WhichRank::busiest_of_run), 2 * seconds + 7, 1e-4);
  EXPECT_GT(plan.experts_s(8, 2, PlanTimes::Overheads::once, PlanTimes::WhichRank::slowest_of_layer), 2 * seconds + 7 + 1);
}

TEST(PlanTimes, LinksAreWhatLeavesARankOrEntersOne) {
  const ByHand by_hand(2, 1e9);
  const PlanTimes& plan = by_hand.plan;
  const StageTimes& times = by_hand.times;
  // Eight tokens with two of four experts each: on two ranks a token goes to both in four of six cases.
  const double row_bytes = times.dispatch_bytes(1, 0), pair_bytes = times.dispatch_bytes(0, 1);
  EXPECT_NEAR(plan.dispatch_bytes(8, 2), 8 * 10.0 / 6 * row_bytes + 16 * pair_bytes, 1e-9);
  EXPECT_NEAR(plan.dispatch_s(8, 1, 2, 1), 200 + plan.dispatch_bytes(8, 2), 1e-9);
  // Six attention ranks send to one: its link takes six messages.
  EXPECT_NEAR(plan.dispatch_s(8, 6, 1, 1), 6 * (100 + plan.dispatch_bytes(8, 1)), 1e-9);
  // Of many tokens the busiest rank has little more than the mean.
  EXPECT_NEAR(plan.exchange_back_s(1e9, 2), 100 + 0.5 * times.outputs_bytes(2'000'000'000), 1e-4 * plan.exchange_back_s(1e9, 2));
}

TEST(PlanTimes, UnevenRoutingMakesTheBusiestRankAndItsLinkSlower) {
  const std::vector<std::vector<double>> loads{{6, 2, 1, 1}, {}, {1, 1, 1, 2}};
  EXPECT_DOUBLE_EQ(linear_imbalance(loads, 2).of_layer, (1.6 + 1.2) / 2);
  EXPECT_DOUBLE_EQ(linear_imbalance(loads, 2).of_run, (1.6 + 0.8) / 2);
  EXPECT_DOUBLE_EQ(linear_imbalance(loads, 4).of_layer, (2.4 + 1.6) / 2);
  EXPECT_DOUBLE_EQ(linear_imbalance({}, 4).of_layer, 1);
  const StageTimes times = times_by_hand(1);
  const Link link{"slow", 100, 1};
  PlanLimits even{.micro_batch_tokens = 8, .expert_rows = 1e9}, uneven = even;
  uneven.imbalance = [](int, const WorkPhase&) { return BusiestRank{.of_layer = 1.5, .of_run = 1.25}; };
  const WorkPhase phase{};
  const PlanTimes before(times, link, even, phase), after(times, link, uneven, phase);
  EXPECT_NEAR((after.exchange_back_s(1e9, 2) - 100) / (before.exchange_back_s(1e9, 2) - 100), 1.5, 1e-3);
  const auto experts = [](const PlanTimes& plan, PlanTimes::WhichRank which) { return plan.experts_s(1e6, 2, PlanTimes::Overheads::once, which); };
  using enum PlanTimes::WhichRank;
  EXPECT_NEAR(experts(after, slowest_of_layer) / experts(before, slowest_of_layer), 1.5, 3e-3);
  EXPECT_NEAR(experts(after, slowest_of_pipeline) / experts(before, slowest_of_pipeline), 1.25, 3e-3);
  EXPECT_NEAR(experts(after, busiest_of_run) / experts(before, busiest_of_run), 1.25, 1e-3);
  // Who sends as much as before does not wait for a busy receiver, unless that takes longer.
  EXPECT_EQ(after.dispatch_s(1e6, 1, 4, 1), before.dispatch_s(1e6, 1, 4, 1));
  EXPECT_NEAR(after.dispatch_s(1e6, 4, 4, 1) / before.dispatch_s(1e6, 4, 4, 1), 1.25, 1e-3);
}

// Exchanges beside a simulation of them, rank by rank and block by block --------------------------

/// Ranks that send to each other what a router chose for random tokens.
class ExchangeSimulation {
 public:
  ExchangeSimulation(const Emulation& emulation, std::vector<double> popularity) : emulation_(emulation), popularity_(std::move(popularity)) {}

  /// Until the last rank has all: `attention_ranks` ranks with `tokens` tokens each, experts on all of them (expert_ranks 0) or on others.
  double seconds(int attention_ranks, int expert_ranks, int tokens) {
    first_expert_rank_ = expert_ranks > 0 ? attention_ranks : 0;
    const int experts_on = expert_ranks > 0 ? expert_ranks : attention_ranks;
    num_ranks_ = static_cast<std::size_t>(first_expert_rank_ + experts_on);
    Matrix out = zeros(), back = zeros();
    for (int rank = 0; rank < attention_ranks; ++rank) route(static_cast<std::size_t>(rank), tokens, experts_on, out, back);
    const std::vector<double> there = exchange(std::vector<double>(num_ranks_, 0.0), out);
    // Lock-step waits in the exchange itself, for as long as those take that are behind.
    return std::ranges::max(exchange(there, back));
  }
  [[nodiscard]] const std::vector<double>& loads() const { return loads_; }

 private:
  using Matrix = std::vector<std::vector<double>>;  // seconds of the block [from][to]; 0: none
  [[nodiscard]] Matrix zeros() const { return Matrix(num_ranks_, std::vector<double>(num_ranks_, 0.0)); }

  void route(std::size_t self, int tokens, int experts_on, Matrix& out, Matrix& back) {
    std::vector<std::int64_t> rows(num_ranks_, 0), pairs(num_ranks_, 0);
    loads_.resize(popularity_.size());
    const auto k = static_cast<std::size_t>(emulation_.times.model().config.experts_per_token);
    for (int token = 0; token < tokens; ++token) {
      // The k that come first where each comes at a rate of its own: different ones, more popular ones more often.
      std::vector<std::pair<double, std::size_t>> order;
      for (std::size_t e = 0; e < popularity_.size(); ++e) order.emplace_back(std::exponential_distribution<double>(popularity_[e])(random_), e);
      std::ranges::nth_element(order, order.begin() + static_cast<std::ptrdiff_t>(k));
      std::vector<bool> sent(num_ranks_, false);
      for (std::size_t i = 0; i < k; ++i) {
        const std::size_t to = static_cast<std::size_t>(first_expert_rank_) + order[i].second * static_cast<std::size_t>(experts_on) / popularity_.size();
        loads_[order[i].second] += 1;
        ++pairs[to];
        rows[to] += sent[to] ? 0 : 1;
        sent[to] = true;
      }
    }
    for (std::size_t to = 0; to < num_ranks_; ++to) {
      if (to == self || pairs[to] == 0) continue;
      out[self][to] = emulation_.link.message_s(emulation_.times.dispatch_bytes(rows[to], pairs[to]));
      back[to][self] = emulation_.link.message_s(emulation_.times.outputs_bytes(pairs[to]));
    }
  }

  [[nodiscard]] std::vector<double> exchange(const std::vector<double>& ready, const Matrix& blocks) const {
    Matrix begin, in = zeros();
    for (std::size_t rank = 0; rank < num_ranks_; ++rank) begin.push_back(departures_s(ready[rank], rank, blocks[rank]));
    std::vector<double> end;
    for (std::size_t rank = 0; rank < num_ranks_; ++rank) {
      std::vector<double> begin_in, blocks_in;
      for (std::size_t from = 0; from < num_ranks_; ++from) {
        begin_in.push_back(begin[from][rank]);
        blocks_in.push_back(blocks[from][rank]);
      }
      const double sent_s = std::accumulate(blocks[rank].begin(), blocks[rank].end(), ready[rank]);
      end.push_back(exchange_end_s(ready[rank], sent_s, begin_in, blocks_in));
    }
    return end;
  }

  const Emulation& emulation_;
  std::vector<double> popularity_;
  std::mt19937_64 random_{20261126};
  std::size_t num_ranks_ = 0;
  int first_expert_rank_ = 0;
  std::vector<double> loads_;
};

/// Predicted over simulated: a router of which experts are as popular as (1 + their place)^-skew, in random order.
double predicted_over_simulated(double skew, int attention_ranks, int expert_ranks, int tokens) {
  Job job;
  job.emulation.device = EmulatedDevice::h100;
  job.emulation.model = EmulatedModel::qwen3_235b_a22b;
  job.emulation.link = EmulatedLink::pcie;
  const Emulation emulation = *make_emulation(job, published_model(job.emulation.model).config);
  std::vector<double> popularity;
  for (int e = 0; e < emulation.times.model().config.num_experts; ++e) popularity.push_back(std::pow(1 + e, -skew));
  std::ranges::shuffle(popularity, std::mt19937_64(7));
  ExchangeSimulation simulation(emulation, popularity);
  constexpr int trials = 6;
  double simulated_s = 0;
  for (int i = 0; i < trials; ++i) simulated_s += simulation.seconds(attention_ranks, expert_ranks, tokens) / trials;
  PlanLimits limits;
  if (skew > 0) limits.imbalance = [&](int ranks, const WorkPhase&) { return linear_imbalance({simulation.loads()}, ranks); };
  const WorkPhase phase{};
  const PlanTimes plan(emulation.times, emulation.link, limits, phase);
  const double predicted_s = expert_ranks > 0 ? plan.exchanges_of_split_s(tokens, attention_ranks, expert_ranks)
                                              : plan.exchange_out_s(tokens, attention_ranks) + plan.exchange_back_s(tokens, attention_ranks);
  return predicted_s / simulated_s;
}

TEST(PlanTimes, ExchangesLastAsLongAsSimulatedOnes) {
  for (const double skew : {0.0, 0.5}) {
    for (const int tokens : {16, 400}) {
      for (const int ranks : {2, 8, 32}) EXPECT_NEAR(predicted_over_simulated(skew, ranks, 0, tokens), 1, 0.07) << "skew " << skew << ", " << tokens << " tokens on " << ranks << " ranks";
      for (const auto& [attention, experts] : {std::pair(4, 4), std::pair(6, 2), std::pair(2, 6), std::pair(1, 3)}) {
        EXPECT_NEAR(predicted_over_simulated(skew, attention, experts, tokens), 1, 0.08) << "skew " << skew << ", " << tokens << " tokens on " << attention << ":" << experts;
      }
    }
  }
}

}  // namespace
}  // namespace moebius::policy
