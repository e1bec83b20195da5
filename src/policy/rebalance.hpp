// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whether and how the placement should change while a job runs. From recent loads to moves of physical experts; pure and
// deterministic, ties to the lowest layer, rank, place.
//
// A layer is as long as its slowest rank: SCORE of gem.hpp over the last windows of time, with the speeds of the ranks.
// From where experts are, exchanges are looked for that shorten it: two experts of different ranks change places, or one
// goes alone to a rank with room to spare. So few experts move, and names of ranks never matter. Exchanges are chosen by all
// windows but the newest, and count for what they save in that of these in which they save least.
//
// The gain test: exchanges are taken by gain per move while each saves more time over the horizon than its moves cost,
// and all together more than a change costs and a least share of the expert time, also in the newest window, which had no
// part in the choice of any: what only suits the noise of the windows that chose it saves nothing there. So a balanced
// system does not move.

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "policy/gem.hpp"
#include "policy/placement_book.hpp"
#include "policy/speed_curve.hpp"

namespace moebius::policy {

/// One or two moves of a layer that belong together; places are given when they are chosen.
struct Exchange {
  std::vector<ExpertMove> moves;
  // Of this exchange and all before it in its list, for as many windows as there are:
  double gain = 0;         ///< by the windows that choose
  double newest_gain = 0;  ///< by the newest one
};

/// What could be done in one layer, one exchange after the other.
struct LayerExchanges {
  double seconds = 0;  ///< SCORE as it is
  std::vector<Exchange> exchanges;
};

/// Looks for the exchanges of a layer, one at a time, so that a loop can do other work between.
class ExchangeSearch {
 public:
  /// At most `most` exchanges. loads: rows per expert in each window, oldest first (a single one chooses and judges); replicas share
  /// them evenly. book and curves must stay as they are while it is used.
  ExchangeSearch(int layer, const PlacementBook& book, const LayerTrace& loads, std::span<const SpeedCurve> curves, int most);
  ~ExchangeSearch();
  /// The next exchange. False: there is none, the result is whole.
  bool step();
  [[nodiscard]] const LayerExchanges& result() const { return result_; }

 private:
  struct States;
  std::unique_ptr<States> states_;
  int most_;
  LayerExchanges result_;
};

struct RebalanceTerms {
  double busy_share = 1.0;   ///< of its time that the busiest rank spends in expert calls
  double horizon_s = 0;      ///< how long a placement is taken to be of use
  double move_cost_s = 0;    ///< of one move
  double change_cost_s = 0;  ///< of a change, whatever moves
  double least_share = 0.02; ///< of the expert time that has to be saved
};

/// What has to be saved where a rank has so many rows in a layer and window: 2 %, or what is no chance with so few rows. Of texts in
/// natural language it varies from window to window by 1 / sqrt(rows) (measured: 2 % at 2240 rows; random tokens 0.5 %); three times that.
double least_share(double rows_of_rank);

struct RebalancePlan {
  std::vector<ExpertMove> moves;  ///< empty: nothing is worth it
  double gain_s = 0, cost_s = 0;  ///< over the horizon; the gain by the windows that chose or by the newest one, the lesser
};

/// layers: of all layers with experts.
RebalancePlan choose_exchanges(std::span<const LayerExchanges> layers, const PlacementBook& book, const RebalanceTerms& terms);

/// Moves for the sake of moving: in up to as many layers as all ranks have free parts, ranks in a random cycle give an
/// expert to the next one. By seed and number of the change; empty where no two ranks can.
std::vector<ExpertMove> forced_moves(const PlacementBook& book, std::uint64_t seed, std::uint32_t change);

}  // namespace moebius::policy
