// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which physical expert serves each (row, expert) pair of a micro-batch, and what that meant for the ranks. One per
// attention rank: in asynchronous execution each micro-batch is balanced for itself, and ties begin at another rank
// each time, so that what cannot be divided does not always fall to the same one. In lock-step all ranks choose
// alike, from the rows of all of them.
//
// `even` deals the rows of an expert out to its replicas, one after the other: right while time goes with rows. The
// others give all rows of an expert to one replica (replica_choice.hpp): fewer weights are read, and ranks are
// less even in rows. They are used while an active expert has at most knee_rows rows in the mean; else `even` is.

#include <cstdint>
#include <span>
#include <vector>

#include "base/job.hpp"
#include "policy/placement.hpp"
#include "policy/replica_choice.hpp"

namespace moebius::policy {

/// What micro-batches asked of the expert ranks, summed over the micro-batches of a layer. An activated expert is a
/// physical expert with at least one row.
struct ActivationCounters {
  std::int32_t num_layers = 0, num_ranks = 0;
  std::vector<std::int64_t> micro_batches;          // [num_layers]
  std::vector<std::int64_t> even_micro_batches;     // [num_layers] above the knee, or dealt out by choice
  std::vector<std::int64_t> largest_activated;      // [num_layers] sum of the largest number on a rank
  std::vector<std::int64_t> largest_rows;           // [num_layers] sum of the largest number on a rank
  std::vector<std::int64_t> activated, rows;        // [num_layers, num_ranks] sums
  std::vector<std::int64_t> max_activated, max_rows;  // [num_layers, num_ranks] of one micro-batch

  ActivationCounters() = default;
  ActivationCounters(int layers, int ranks);
  /// Of another attention rank of the same job; one of no layers adds nothing.
  void add(const ActivationCounters& other);
  bool operator==(const ActivationCounters&) const = default;
};

class ReplicaRouter {
 public:
  /// Ranks of the placement are below `num_ranks`; `first_rank`: where ties begin.
  ReplicaRouter(const ExpertPlacement& placement, int num_layers, int num_experts, int num_ranks, int first_rank, const Job::Replicas& options);

  /// Where each pair of a micro-batch goes; pairs without expert (-1) get no rank. Valid until the next call.
  std::span<const PhysicalExpert> route(LayerId layer, std::span<const std::int32_t> experts);
  /// The same where all ranks step together: the choice hangs on rows_of_all, [num_experts], the rows of all ranks, and on how
  /// often this was called, so all ranks choose alike. `counts`: on one rank only, since it then counts for all.
  std::span<const PhysicalExpert> route_of_all(LayerId layer, std::span<const std::int32_t> experts,
                                               std::span<const std::int64_t> rows_of_all, bool counts);
  [[nodiscard]] const ActivationCounters& counters() const { return counters_; }

 private:
  /// active_ of rows_of_.
  void find_active(LayerId layer);
  [[nodiscard]] bool deals_out() const;
  void deal_out(LayerId layer, std::span<const std::int32_t> experts);
  [[nodiscard]] std::span<const PhysicalExpert> choose(int first_rank);
  void gather(std::span<const std::int32_t> experts, std::span<const PhysicalExpert> chosen);
  void add_rows(PhysicalExpert at, std::int64_t rows);
  void count(LayerId layer, bool dealt_out);

  const ExpertPlacement& placement_;
  int num_experts_;
  Job::Replicas options_;
  ReplicaChoice choice_;
  int first_rank_, first_rank_of_all_ = 0;
  std::vector<std::int64_t> rows_of_;               // [num_experts] of this micro-batch
  std::vector<ActiveExpert> active_;                // by id
  std::vector<std::size_t> active_idx_;             // [num_experts] into active_
  std::vector<std::uint32_t> next_replica_;         // [num_layers, num_experts] whose turn it is
  std::vector<PhysicalExpert> hosts_;               // [pairs]
  std::vector<std::vector<std::int64_t>> rows_at_;  // [num_ranks][place] of this micro-batch
  ActivationCounters counters_;
};

}  // namespace moebius::policy
