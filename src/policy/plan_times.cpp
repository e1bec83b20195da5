// SPDX-License-Identifier: Apache-2.0
#include "policy/plan_times.hpp"

#include <algorithm>
#include <array>
#include <cmath>

namespace moebius::policy {
namespace {

std::int64_t whole(double count) { return std::max<std::int64_t>(1, static_cast<std::int64_t>(std::llround(count))); }

/// Of `cells` of which each of so many draws takes one at random, how many are taken in the mean.
double expected_hits(double cells, double draws) { return cells <= 1 ? std::min(cells, draws) : cells * (1 - std::pow(1 - 1 / cells, draws)); }

/// How probable it is that one of `part` experts is among k different ones of all at random.
double any_of(double part, double experts, int k) {
  double none = 1;
  for (int i = 0; i < k; ++i) none *= std::max(0.0, (experts - part - i) / (experts - i));
  return 1 - none;
}

/// From so many rows on the normal distribution stands for Poisson's.
constexpr double many_rows = 48;
/// Middles of nine equally likely parts of the normal distribution, in standard deviations.
constexpr std::array<double, 9> nine_parts{-1.593, -0.967, -0.589, -0.282, 0, 0.282, 0.589, 0.967, 1.593};
/// Terms of Poisson's distribution that are left out.
constexpr double negligible = 1e-7;

/// How far the largest of so many normal numbers lies above their mean, in standard deviations.
double most_of(int numbers) {
  constexpr std::array<double, 9> of_powers_of_two{0, 0.564, 1.029, 1.424, 1.766, 2.07, 2.343, 2.594, 2.826};
  const double power = std::min(std::log2(std::max(numbers, 1)), of_powers_of_two.size() - 1.0);
  const auto below = std::min(static_cast<std::size_t>(power), of_powers_of_two.size() - 2);
  return std::lerp(of_powers_of_two[below], of_powers_of_two[below + 1], power - static_cast<double>(below));
}

}  // namespace

double PlanTimes::attention_of_one_s(double tokens) const {
  const AttentionWork work{.rows = whole(tokens), .kv_positions = whole(tokens * phase_.kv_per_token), .score_pairs = whole(tokens * phase_.pairs_per_token)};
  return times_.attention_s(work) + times_.router_s(whole(tokens)) + times_.combine_s(whole(tokens));
}

double PlanTimes::attention_s(double tokens) const {
  const double stages = std::ceil(tokens / limits_.micro_batch_tokens - 1e-9);
  return stages * attention_of_one_s(tokens / stages);
}

double PlanTimes::shared_of_one_s(double tokens) const { return times_.shared_experts_s(whole(tokens)); }

double PlanTimes::shared_s(double tokens) const {
  const double stages = std::ceil(tokens / limits_.micro_batch_tokens - 1e-9);
  return stages * times_.shared_experts_s(whole(tokens / stages));
}

double PlanTimes::dense_layer_s(double tokens) const {
  const double stages = std::ceil(tokens / limits_.micro_batch_tokens - 1e-9);
  return attention_s(tokens) + stages * times_.dense_mlp_s(whole(tokens / stages));
}

double PlanTimes::head_s(double tokens) const {
  const double scored = tokens * phase_.scored_per_token;
  if (scored <= 0) return 0;
  const double stages = std::ceil(tokens / limits_.micro_batch_tokens - 1e-9);
  return stages * times_.lm_head_s(whole(scored / stages));
}

PlanTimes::ExpertMean PlanTimes::expert_of(double rows) const {
  if (rows <= 0) return {};
  const double calls = std::ceil(rows / limits_.expert_rows), whole_calls = calls - 1;
  const auto rest = whole(rows - whole_calls * limits_.expert_rows);
  const double seconds = times_.expert_s(rest) + (whole_calls > 0 ? whole_calls * times_.expert_s(whole(limits_.expert_rows)) : 0.0);
  return {.seconds = seconds, .calls = calls};
}

PlanTimes::ExpertMean PlanTimes::expert_mean(double mean_rows) const {
  ExpertMean mean;
  const auto add = [&](double rows, double weight) {
    const ExpertMean one = expert_of(rows);
    mean.seconds += weight * one.seconds;
    mean.calls += weight * one.calls;
    mean.variance += weight * one.seconds * one.seconds;
  };
  const auto finished = [&] {
    mean.variance = std::max(0.0, mean.variance - mean.seconds * mean.seconds);
    return mean;
  };
  if (mean_rows > many_rows) {
    for (const double deviations : nine_parts) add(std::round(mean_rows + deviations * std::sqrt(mean_rows)), 1.0 / nine_parts.size());
    return finished();
  }
  double probability = std::exp(-mean_rows), left = 1 - probability;
  for (int rows = 1; left > negligible; ++rows) {
    probability *= mean_rows / rows;
    left -= probability;
    add(rows, probability);
  }
  return finished();
}

double PlanTimes::experts_s(double tokens, int expert_ranks, Overheads overheads, WhichRank which) const {
  const double hosted = std::ceil(static_cast<double>(config_.num_experts) / expert_ranks - 1e-9), rows = chosen_per_expert(tokens);
  const BusiestRank busy = imbalance(expert_ranks);
  const ExpertMean busiest = expert_mean(rows * busy.computed(which == WhichRank::slowest_of_layer ? busy.of_layer : busy.of_run, expert_ranks));
  const double overhead_s = times_.expert_overhead_s() * (overheads == Overheads::each_call ? hosted * busiest.calls : std::min(1.0, hosted * busiest.calls));
  if (which == WhichRank::busiest_of_run) return hosted * busiest.seconds + overhead_s;
  // What chance and what the router adds to the mean are not on the same rank.
  const ExpertMean mean = expert_mean(rows * busy.computed(busy.mean, expert_ranks));
  const double more_s = std::hypot(hosted * (busiest.seconds - mean.seconds), most_of(expert_ranks) * std::sqrt(hosted * mean.variance));
  return hosted * mean.seconds + more_s + overhead_s;
}

double PlanTimes::bytes_to_rank(double tokens, int expert_ranks, double busy) const {
  const double row_bytes = times_.dispatch_bytes(1, 0), pair_bytes = times_.dispatch_bytes(1, 1) - row_bytes;
  const double share = std::min(1.0, busy / expert_ranks), experts = config_.num_experts;
  return tokens * (row_bytes * any_of(share * experts, experts, config_.experts_per_token) + pair_bytes * share * config_.experts_per_token);
}

double PlanTimes::dispatch_bytes(double tokens, int expert_ranks) const { return expert_ranks * bytes_to_rank(tokens, expert_ranks, imbalance(expert_ranks).mean); }

double PlanTimes::outputs_bytes(double tokens, int expert_ranks) const {
  return imbalance(expert_ranks).mean * times_.outputs_bytes(1) * tokens * config_.experts_per_token;
}

double PlanTimes::dispatch_s(double tokens, int attention_ranks, int expert_ranks, double away) const {
  const double pairs = tokens * config_.experts_per_token / expert_ranks, busy = imbalance(expert_ranks).of_run;
  const double messages = away * std::min(1.0, pairs) * std::max(1.0, std::ceil(pairs / limits_.message_pairs));
  return std::max(link_s(messages * expert_ranks, away * dispatch_bytes(tokens, expert_ranks)),
                  attention_ranks * link_s(messages, away * bytes_to_rank(tokens, expert_ranks, busy)));
}

double PlanTimes::outputs_s(double tokens, int attention_ranks, int expert_ranks, double away, Messages messages) const {
  const BusiestRank busy = imbalance(expert_ranks);
  const double bytes = away * outputs_bytes(tokens, expert_ranks), pairs = tokens * config_.experts_per_token, share = static_cast<double>(attention_ranks) / expert_ranks;
  const double calls = away * (messages == Messages::of_calls ? config_.num_experts * expert_mean(chosen_per_expert(tokens)).calls : expected_hits(expert_ranks, pairs));
  return std::max(link_s(calls, bytes), share * link_s(calls, busy.of_run / busy.mean * bytes));
}

double PlanTimes::busiest_in_exchange(double mean_pairs, int expert_ranks) const {
  // Chance, as of Poisson's numbers, and the router: not on the same rank.
  const BusiestRank busy = imbalance(expert_ranks);
  return busy.mean + std::hypot(busy.of_layer - busy.mean, most_of(expert_ranks) / std::sqrt(std::max(mean_pairs, 1.0)));
}

double PlanTimes::exchange_out_s(double tokens, int ranks) const {
  const double others = ranks - 1.0, pairs = tokens * config_.experts_per_token;
  return others * link_s(expected_hits(ranks, pairs) / ranks, bytes_to_rank(tokens, ranks, busiest_in_exchange(others / ranks * pairs, ranks)));
}

double PlanTimes::exchange_back_s(double tokens, int ranks) const {
  const double others = ranks - 1.0, pairs = tokens * config_.experts_per_token;
  return others * link_s(expected_hits(ranks, pairs) / ranks, busiest_in_exchange(others / ranks * pairs, ranks) * times_.outputs_bytes(1) * pairs / ranks);
}

double PlanTimes::exchanges_of_split_s(double tokens, int attention_ranks, int expert_ranks) const {
  // All attention ranks send to the first expert rank first, so that the next ones get their blocks later, and the blocks that come back
  // are as far apart.
  const double pairs = tokens * config_.experts_per_token, messages = expected_hits(expert_ranks, pairs) / expert_ranks;
  const double busy = busiest_in_exchange(attention_ranks * pairs / expert_ranks, expert_ranks);
  const auto out_s = [&](double load) { return link_s(messages, bytes_to_rank(tokens, expert_ranks, load)); };
  const auto back_s = [&](double load) { return link_s(messages, load * times_.outputs_bytes(1) * pairs / expert_ranks); };
  const double mean = imbalance(expert_ranks).mean;
  return attention_ranks * (out_s(busy) + back_s(busy)) + (expert_ranks - 1) * std::max(out_s(mean), back_s(mean));
}

}  // namespace moebius::policy
