// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where the routed experts of a model live. Pure data once built: every rank builds its own copy from
// the same arguments and gets the same answer. Attention ranks ask `host` for each (token, expert);
// expert ranks ask `hosted` once, to load weights and to make their micro-queues.
// Invariant: `host` and `hosted` are inverse to each other; the places of a (layer, rank) are 0, 1, ...

#include <span>
#include <vector>

#include "base/ids.hpp"

namespace moebius::policy {

/// Where one physical expert lives.
struct PhysicalExpert {
  RankId rank;
  PlaceId place;
  bool operator==(const PhysicalExpert&) const = default;
};

/// What one place of a rank holds.
struct HostedExpert {
  LayerId layer;
  ExpertId expert;
  PlaceId place;
  bool operator==(const HostedExpert&) const = default;
};

/// One of the program's four seams.
class ExpertPlacement {
 public:
  virtual ~ExpertPlacement() = default;
  /// The physical expert that serves a logical one.
  [[nodiscard]] virtual PhysicalExpert host(LayerId layer, ExpertId expert) const = 0;
  /// Everything `rank` hosts, by layer, then by place; nothing for a rank without experts.
  [[nodiscard]] virtual std::vector<HostedExpert> hosted(RankId rank) const = 0;
};

/// Each expert on exactly one rank: experts in id order, cut into contiguous runs, one run a rank in the
/// order given. Run lengths differ by at most one, the longer ones first; ranks beyond the number of
/// experts host nothing. The same in every layer.
class LinearPlacement final : public ExpertPlacement {
 public:
  /// `experts_per_layer[l]` >= 0 routed experts in layer l (0: a dense layer); at least one rank, all different.
  LinearPlacement(std::vector<int> experts_per_layer, std::span<const RankId> expert_ranks);

  [[nodiscard]] PhysicalExpert host(LayerId layer, ExpertId expert) const override;
  [[nodiscard]] std::vector<HostedExpert> hosted(RankId rank) const override;

 private:
  std::vector<int> experts_per_layer_;
  std::vector<RankId> ranks_;
};

}  // namespace moebius::policy
