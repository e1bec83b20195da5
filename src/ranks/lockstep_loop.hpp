// SPDX-License-Identifier: Apache-2.0
#pragma once
// The conventional engine, to measure the asynchronous one against: all ranks step through the layers together. Each layer
// has one exchange of counts and two of rows (MPI_Alltoallv): hidden states to the experts, outputs back; a rank with
// nothing to do takes part with zero rows. With replicas of experts the rows of all ranks are added up first. Same stages, kernels, placement and bits as EventLoop.
//
// No copy but those that the collectives need: hidden states are packed once per rank, experts read them where they
// arrive and write where the reply leaves from, and outputs are put where they are combined. Rows for experts of the own
// rank are not copied at all. Memory: as much as the rows of one micro-step need; kept for the next.
//
// Time: what a rank waits in the exchange of counts is idle; the exchange of outputs, in which it also waits for the
// slowest expert rank, is dispatch_wait.

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/model_config.hpp"
#include "base/timing.hpp"
#include "comm/all_to_all.hpp"
#include "comm/transport.hpp"
#include "ranks/attention_side.hpp"
#include "ranks/event_loop.hpp"
#include "ranks/expert_side.hpp"
#include "ranks/link_delay.hpp"
#include "ranks/row_sender.hpp"

namespace moebius::ranks {

/// Keeps the pairs of all micro-batches of a layer until the exchange.
class PairCollector final : public RowSender {
 public:
  explicit PairCollector(int num_ranks) : to_(static_cast<std::size_t>(num_ranks)) {}
  void send(LayerId /*layer*/, std::uint32_t /*generation*/, RankId to, std::span<const RowPair> pairs, PartTag /*part*/) override {
    to_[to.idx()].insert(to_[to.idx()].end(), pairs.begin(), pairs.end());
  }
  [[nodiscard]] std::span<const RowPair> to(std::size_t rank) const { return to_[rank]; }
  void clear() {
    for (auto& pairs : to_) pairs.clear();
  }

 private:
  std::vector<std::vector<RowPair>> to_;  // [num_ranks] by rows
};

class LockstepLoop {
 public:
  struct Parts {
    comm::AllToAll& all;
    comm::Transport& transport;          ///< only to let MPI progress for others
    PairCollector& pairs;
    const ModelConfig& config;
    ComputeType compute;
    PhaseClock& clock;
    StagePace& pace;
    ExchangeDelay* delay;                ///< nullptr in real time
    AttentionSide* attention;            ///< nullptr without the role
    ExpertSide* experts;                 ///< nullptr without the role
    const model::RowExchange* own_rows;  ///< nullptr without the attention role
    std::vector<int> hosted_per_layer;   ///< experts of this rank
    bool has_replicas = false;           ///< which of them serve a step is chosen from the rows of all ranks
    bool counts = false;                 ///< this rank counts what replicas meant, for all
  };
  LockstepLoop(const Parts& parts, EventLoop::Beat beat);
  /// Steps until no rank has anything to do. Collective.
  void run();

 private:
  /// One token block of each pair of ranks in an exchange: rows and (row, expert) pairs.
  struct Counts {
    std::int64_t rows = 0, pairs = 0;
  };
  void step();
  void exchange_layer(int layer);
  /// Packs what goes to other ranks and exchanges how much that is.
  void choose_replicas(int layer);
  void pack();
  void exchange_rows();
  void queue_rows(int layer);
  void run_experts(int layer);
  void exchange_outputs();
  void take_outputs(int layer);
  /// Of an exchange in slow motion: what it lasts.
  void delay_few_bytes();
  void delay_dispatch();
  void delay_outputs();
  void worked(Phase phase);
  void wait(comm::AllToAll::Wait what);

  [[nodiscard]] std::size_t num_ranks() const { return to_.size(); }
  [[nodiscard]] std::size_t dispatch_bytes(const Counts& counts) const;
  [[nodiscard]] std::size_t outputs_bytes(const Counts& counts) const;

  Parts parts_;
  EventLoop::Beat beat_;
  std::size_t self_, row_bytes_, output_bytes_;
  std::vector<Counts> to_, from_;                    // [num_ranks] of the layer
  std::vector<std::size_t> to_bytes_, from_bytes_;   // [num_ranks]
  std::vector<std::int64_t> counts_out_, counts_in_; // [num_ranks]
  std::vector<std::int64_t> rows_of_all_;            // [num_experts]
  std::vector<std::byte> packed_, arrived_;          // dispatch blocks
  std::vector<float> reply_, outputs_;               // outputs of own experts, of the others'
  std::vector<double> link_out_, link_in_;           // [num_ranks] bytes on emulated links
  LoopStatus status_;
};

}  // namespace moebius::ranks
