// SPDX-License-Identifier: Apache-2.0
#include "policy/rebalance.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

/// The ranks of one layer and what they would have to do, while exchanges are tried out.
class LayerState {
 public:
  LayerState(int layer, const PlacementBook& book, const LayerTrace& loads, std::span<const SpeedCurve> curves)
      : layer_(layer), book_(book), loads_(loads), curves_(curves), on_rank_(curves.size()), share_(static_cast<std::size_t>(loads.num_experts)),
        rows_(curves.size(), std::vector<double>(static_cast<std::size_t>(loads.num_steps))), seconds_(rows_) {
    const LayerMap& map = book.map(layer);
    for (const std::int32_t expert : map.expert) {
      if (expert >= 0) share_[static_cast<std::size_t>(expert)] += 1;
    }
    for (double& share : share_) share = share > 0 ? 1 / share : 0;
    for (int rank = 0; rank < map.num_ranks; ++rank) {
      for (int place = 0; place < map.num_places; ++place) {
        if (map.at(rank, place) < 0) continue;
        on_rank_[static_cast<std::size_t>(rank)].push_back({map.at(rank, place), place});
        for (int step = 0; step < loads.num_steps; ++step) rows_[static_cast<std::size_t>(rank)][static_cast<std::size_t>(step)] += rows(map.at(rank, place), step);
      }
      update(rank);
    }
  }

  struct Physical {
    std::int32_t expert;
    std::int32_t place;  // -1: it has been moved
  };
  struct Try {
    int from = -1, to = -1;  // ranks
    int given = -1, taken = -1;  // index into on_rank_; nothing is taken for one that goes alone
    double seconds = 0, squares = 0;
  };

  /// The slowest rank of each window. // [steps]
  [[nodiscard]] std::vector<double> maxima() const {
    std::vector<double> result(static_cast<std::size_t>(loads_.num_steps));
    for (const auto& rank : seconds_) {
      for (std::size_t step = 0; step < result.size(); ++step) result[step] = std::max(result[step], rank[step]);
    }
    return result;
  }

  /// The exchange with the slowest rank that makes SCORE least; of those alike, the ranks most even.
  [[nodiscard]] Try best() const {
    const auto total = [&](std::size_t rank) { return std::accumulate(seconds_[rank].begin(), seconds_[rank].end(), 0.0); };
    std::size_t slowest = 0;
    for (std::size_t rank = 1; rank < seconds_.size(); ++rank) {
      if (total(rank) > total(slowest)) slowest = rank;
    }
    Try best;
    best.seconds = std::numeric_limits<double>::max();
    for (std::size_t other = 0; other < seconds_.size(); ++other) {
      if (other != slowest) try_pair(static_cast<int>(slowest), static_cast<int>(other), best);
    }
    return best;
  }

  void apply(const Try& t) {
    auto& from = on_rank_[static_cast<std::size_t>(t.from)];
    auto& to = on_rank_[static_cast<std::size_t>(t.to)];
    Physical& given = from[static_cast<std::size_t>(t.given)];
    for (int step = 0; step < loads_.num_steps; ++step) {
      const double change = rows(given.expert, step) - (t.taken < 0 ? 0 : rows(to[static_cast<std::size_t>(t.taken)].expert, step));
      rows_[static_cast<std::size_t>(t.from)][static_cast<std::size_t>(step)] -= change;
      rows_[static_cast<std::size_t>(t.to)][static_cast<std::size_t>(step)] += change;
    }
    if (t.taken >= 0) std::swap(given.expert, to[static_cast<std::size_t>(t.taken)].expert);
    else to.push_back({given.expert, -1});
    if (t.taken >= 0) to[static_cast<std::size_t>(t.taken)].place = -1;
    given.place = -1;
    if (t.taken < 0) from.erase(from.begin() + t.given);
    update(t.from);
    update(t.to);
  }

  [[nodiscard]] std::vector<ExpertMove> moves(const Try& t) const {
    const auto move = [&](int from, int to, const Physical& physical) {
      return ExpertMove{.layer = layer_, .expert = physical.expert, .from_rank = from, .from_place = physical.place, .to_rank = to, .to_place = -1};
    };
    std::vector<ExpertMove> result{move(t.from, t.to, on_rank_[static_cast<std::size_t>(t.from)][static_cast<std::size_t>(t.given)])};
    if (t.taken >= 0) result.push_back(move(t.to, t.from, on_rank_[static_cast<std::size_t>(t.to)][static_cast<std::size_t>(t.taken)]));
    return result;
  }

  [[nodiscard]] double seconds() const {
    const std::vector<double> all = maxima();
    return std::accumulate(all.begin(), all.end(), 0.0);
  }
  [[nodiscard]] double squares() const {
    double sum = 0;
    for (const auto& rank : seconds_) sum = std::accumulate(rank.begin(), rank.end(), sum, [](double s, double x) { return s + x * x; });
    return sum;
  }

 private:
  [[nodiscard]] double rows(std::int32_t expert, int step) const {
    return static_cast<double>(loads_.at(step, expert)) * share_[static_cast<std::size_t>(expert)];
  }
  void update(int rank) {
    const auto r = static_cast<std::size_t>(rank);
    for (std::size_t step = 0; step < rows_[r].size(); ++step) seconds_[r][step] = curves_[r].seconds(std::max(rows_[r][step], 0.0));
  }
  [[nodiscard]] bool holds(int rank, std::int32_t expert) const {
    return std::ranges::any_of(on_rank_[static_cast<std::size_t>(rank)], [&](const Physical& p) { return p.expert == expert; });
  }

  void try_pair(int from, int to, Try& best) const {
    std::vector<double> rest(static_cast<std::size_t>(loads_.num_steps));  // the slowest of the other ranks
    for (std::size_t rank = 0; rank < seconds_.size(); ++rank) {
      if (static_cast<int>(rank) == from || static_cast<int>(rank) == to) continue;
      for (std::size_t step = 0; step < rest.size(); ++step) rest[step] = std::max(rest[step], seconds_[rank][step]);
    }
    const auto& given = on_rank_[static_cast<std::size_t>(from)];
    const auto& taken = on_rank_[static_cast<std::size_t>(to)];
    const bool may_go_alone = book_.num_free_parts(to) > 1;
    const double squares_now = squares();
    for (std::size_t g = 0; g < given.size(); ++g) {
      if (given[g].place < 0 || holds(to, given[g].expert)) continue;
      if (may_go_alone) consider({from, to, static_cast<int>(g), -1, 0, squares_now}, rest, best);
      for (std::size_t t = 0; t < taken.size(); ++t) {
        if (taken[t].place >= 0 && !holds(from, taken[t].expert)) consider({from, to, static_cast<int>(g), static_cast<int>(t), 0, squares_now}, rest, best);
      }
    }
  }

  /// t: with what the ranks have now in `squares`.
  void consider(Try t, std::span<const double> rest, Try& best) const {
    const auto from = static_cast<std::size_t>(t.from), to = static_cast<std::size_t>(t.to);
    for (std::size_t step = 0; step < rest.size(); ++step) {
      const double given = rows(on_rank_[from][static_cast<std::size_t>(t.given)].expert, static_cast<int>(step));
      const double taken = t.taken < 0 ? 0.0 : rows(on_rank_[to][static_cast<std::size_t>(t.taken)].expert, static_cast<int>(step));
      const double from_s = curves_[from].seconds(std::max(rows_[from][step] - given + taken, 0.0));
      const double to_s = curves_[to].seconds(std::max(rows_[to][step] + given - taken, 0.0));
      t.seconds += std::max({rest[step], from_s, to_s});
      t.squares += from_s * from_s + to_s * to_s - seconds_[from][step] * seconds_[from][step] - seconds_[to][step] * seconds_[to][step];
    }
    if (t.seconds < best.seconds || (t.seconds == best.seconds && t.squares < best.squares)) best = t;
  }

  int layer_;
  const PlacementBook& book_;
  const LayerTrace& loads_;
  std::span<const SpeedCurve> curves_;
  std::vector<std::vector<Physical>> on_rank_;  // [ranks]
  std::vector<double> share_;                   // [experts] of its rows that each replica takes
  std::vector<std::vector<double>> rows_, seconds_;  // [ranks][steps]
};

/// Exchanges that are taken one after the other while parts and places last.
class Choice {
 public:
  explicit Choice(const PlacementBook& book) : book_(book) {
    for (int rank = 0; rank < book.num_ranks(); ++rank) free_.push_back(book.num_free_parts(rank));
  }
  /// Whether there are free parts and places for all; one that goes alone must leave its new rank another part.
  [[nodiscard]] bool fits(std::span<const Exchange> exchanges) const {
    std::vector<int> free = free_;
    std::vector<int> coming(free.size());  // all of one layer
    for (const Exchange& exchange : exchanges) {
      for (const ExpertMove& move : exchange.moves) {
        const auto to = static_cast<std::size_t>(move.to_rank);
        free[to] -= 1;
        if (free[to] < (exchange.moves.size() == 1 ? 1 : 0)) return false;
        if (book_.free_place(move.layer, move.to_rank, num_coming(move) + coming[to]++) < 0) return false;
      }
    }
    return true;
  }
  void take(std::span<const Exchange> exchanges) {
    for (const Exchange& exchange : exchanges) {
      for (ExpertMove move : exchange.moves) {
        free_[static_cast<std::size_t>(move.to_rank)] -= 1;
        move.to_place = book_.free_place(move.layer, move.to_rank, num_coming(move));
        MOEBIUS_ENSURE(move.to_place >= 0);
        moves_.push_back(move);
      }
    }
  }
  [[nodiscard]] const std::vector<ExpertMove>& moves() const { return moves_; }

 private:
  /// Moves that were taken to the layer and rank of a move.
  [[nodiscard]] int num_coming(const ExpertMove& move) const {
    return static_cast<int>(std::ranges::count_if(moves_, [&](const ExpertMove& m) { return m.layer == move.layer && m.to_rank == move.to_rank; }));
  }

  const PlacementBook& book_;
  std::vector<int> free_;
  std::vector<ExpertMove> moves_;
};

}  // namespace

struct ExchangeSearch::States {
  States(int layer, const PlacementBook& book, const LayerTrace& loads, std::span<const SpeedCurve> curves)
      : all(loads), choosing(loads.steps(0, std::max(loads.num_steps - 1, 1))), state(layer, book, choosing, curves), judge(layer, book, all, curves),
        before(judge.maxima()) {}
  LayerTrace all, choosing;
  LayerState state, judge;
  std::vector<double> before;  // [steps] as it is
};

ExchangeSearch::ExchangeSearch(int layer, const PlacementBook& book, const LayerTrace& loads, std::span<const SpeedCurve> curves, int most) : most_(most) {
  MOEBIUS_EXPECT(static_cast<int>(curves.size()) == book.num_ranks() && loads.num_steps > 0);
  states_ = std::make_unique<States>(layer, book, loads, curves);
  result_.seconds = states_->judge.seconds();
}
ExchangeSearch::~ExchangeSearch() = default;

bool ExchangeSearch::step() {
  if (static_cast<int>(result_.exchanges.size()) >= most_) return false;
  auto& [all, choosing, state, judge, before] = *states_;
  const LayerState::Try best = state.best();
  constexpr double noise = 1e-9;  // of sums in another order
  const double now = state.seconds();
  const bool shorter = best.seconds < now * (1 - noise);
  const bool more_even = best.seconds <= now * (1 + noise) && best.squares < state.squares() * (1 - noise);
  if (best.from < 0 || !(shorter || more_even)) return false;
  Exchange exchange{.moves = state.moves(best)};
  state.apply(best);
  judge.apply(best);
  const std::vector<double> after = judge.maxima();
  double least = std::numeric_limits<double>::max();
  for (std::size_t step = 0; step < static_cast<std::size_t>(choosing.num_steps); ++step) least = std::min(least, before[step] - after[step]);
  exchange.gain = least * all.num_steps;
  exchange.newest_gain = (before.back() - after.back()) * all.num_steps;
  result_.exchanges.push_back(std::move(exchange));
  return true;
}

double least_share(double rows_of_rank) { return std::max(0.02, 3 / std::sqrt(std::max(rows_of_rank, 1.0))); }

RebalancePlan choose_exchanges(std::span<const LayerExchanges> layers, const PlacementBook& book, const RebalanceTerms& terms) {
  RebalancePlan plan;
  double seconds = 0, gain = 0, newest_gain = 0;
  for (const LayerExchanges& layer : layers) seconds += layer.seconds;
  if (seconds <= 0) return plan;
  const double worth = terms.busy_share * terms.horizon_s / seconds;  // of what curves call a second
  Choice choice(book);
  std::vector<std::size_t> taken(layers.size());
  for (;;) {
    double best_ratio = terms.move_cost_s / std::max(worth, 1e-300), best_gain = 0;  // a move must save more than it costs
    std::size_t best_layer = layers.size(), best_end = 0;
    for (std::size_t l = 0; l < layers.size(); ++l) {
      const auto& exchanges = layers[l].exchanges;
      const double had = taken[l] == 0 ? 0 : exchanges[taken[l] - 1].gain;
      std::size_t num_moves = 0;
      for (std::size_t end = taken[l] + 1; end <= exchanges.size(); ++end) {
        num_moves += exchanges[end - 1].moves.size();
        const double ratio = (exchanges[end - 1].gain - had) / static_cast<double>(num_moves);
        if (ratio <= best_ratio) continue;
        if (!choice.fits(std::span(exchanges).subspan(taken[l], end - taken[l]))) break;  // nor do longer ones
        best_ratio = ratio;
        best_gain = exchanges[end - 1].gain - had;
        best_layer = l;
        best_end = end;
      }
    }
    if (best_layer == layers.size()) break;
    choice.take(std::span(layers[best_layer].exchanges).subspan(taken[best_layer], best_end - taken[best_layer]));
    taken[best_layer] = best_end;
    gain += best_gain;
  }
  for (std::size_t l = 0; l < layers.size(); ++l) newest_gain += taken[l] == 0 ? 0 : layers[l].exchanges[taken[l] - 1].newest_gain;
  gain = std::min(gain, newest_gain);
  plan.gain_s = gain * worth;
  plan.cost_s = terms.change_cost_s + terms.move_cost_s * static_cast<double>(choice.moves().size());
  if (gain >= terms.least_share * seconds && plan.gain_s > plan.cost_s) plan.moves = choice.moves();
  return plan;
}

std::vector<ExpertMove> forced_moves(const PlacementBook& book, std::uint64_t seed, std::uint32_t change) {
  std::mt19937_64 random(seed * 0x9E3779B97F4A7C15U + change);
  std::vector<int> layers(static_cast<std::size_t>(book.num_layers()));
  std::iota(layers.begin(), layers.end(), 0);
  std::ranges::shuffle(layers, random);
  std::vector<ExpertMove> moves;
  std::vector<int> free;
  for (int rank = 0; rank < book.num_ranks(); ++rank) free.push_back(book.num_free_parts(rank));
  for (const int layer : layers) {
    const LayerMap& map = book.map(layer);
    std::vector<int> ranks;
    for (int rank = 0; rank < map.num_ranks; ++rank) {
      if (free[static_cast<std::size_t>(rank)] > 0 && book.free_place(layer, rank) >= 0) ranks.push_back(rank);
    }
    std::ranges::shuffle(ranks, random);
    if (ranks.size() > 2) ranks.resize(2 + random() % (ranks.size() - 1));
    std::vector<ExpertMove> cycle;
    for (std::size_t i = 0; ranks.size() > 1 && i < ranks.size(); ++i) {
      const int from = ranks[i], to = ranks[(i + 1) % ranks.size()];
      std::vector<int> places;
      for (int place = 0; place < map.num_places; ++place) {
        if (map.at(from, place) >= 0 && !book.holds(layer, to, map.at(from, place))) places.push_back(place);
      }
      if (places.empty()) break;
      const int place = places[random() % places.size()];
      cycle.push_back({layer, map.at(from, place), from, place, to, book.free_place(layer, to)});
    }
    if (cycle.empty() || cycle.size() != ranks.size()) continue;  // a rank has nothing that the next one lacks
    for (const ExpertMove& move : cycle) free[static_cast<std::size_t>(move.to_rank)] -= 1;
    moves.insert(moves.end(), cycle.begin(), cycle.end());
  }
  return moves;
}

}  // namespace moebius::policy
