// SPDX-License-Identifier: Apache-2.0
#pragma once
// The fixed order of schedule.execution = pipeline, in place of a scheduler's picks; the stages are those of every other way
// (ALGORITHMS section 5: FinDEP; ping-pong is r2 = 1 with order = fused).
//
// An attention rank admits a mini-batch as large as its token budget, asks the solver for what the job leaves open, cuts it into up to r1 micro-batches of whole segments, and
// takes all of them through each layer in turn: A0 S0 A1 S1 .. (asas), A0 A1 .. S0 S1 .. (aass). A stands for the outputs of the
// layer before, attention, router and dispatch in r2 parts; S for the shared experts. It waits until all rows of the
// micro-batch whose turn it is are back. The next mini-batch is admitted when the LM head of the last micro-batch is done.
// An expert rank takes whole parts as they come; parts of several attention ranks for one layer go together.
//
// No deadlock: a micro-batch waits only for outputs of its own rows, of a part that was sent whole; expert ranks wait for
// nobody. Order of keys: segments of one sequence stand in the mini-batch in order, so an earlier one is in the same
// micro-batch or one whose turn comes before in each layer.

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/job.hpp"
#include "base/timing.hpp"
#include "comm/transport.hpp"
#include "policy/layout.hpp"
#include "policy/pipeline_solver.hpp"
#include "ranks/attention_side.hpp"
#include "ranks/expert_side.hpp"
#include "ranks/part_queue.hpp"

namespace moebius::ranks {

/// How many micro-batches of a full mini-batch memory is made for: pipeline.r1, or where that is left to the solver as many as
/// micro_batch_tokens makes, two at least.
int micro_batches_per_mini_batch(const Job& job);
/// Whether r1, r2 or order is left to the solver.
bool asks_solver(const Job::Pipeline& pipeline);
/// Throws Failure(bad_usage) where a rank would have both roles: there would be nothing that goes on meanwhile.
void check_pipeline(const Job& job, const policy::RankLayout& layout);

class PipelineTurns {
 public:
  struct Parts {
    AttentionSide* attention;  ///< nullptr without the role; never both roles
    ExpertSide* experts;
    int num_layers;
    Job::Pipeline pipeline;           ///< what is fixed
    policy::PipelineSolver* solver;   ///< asked before each mini-batch; nullptr where all is fixed, or without attention
    const ModelConfig& config;
  };
  explicit PipelineTurns(const Parts& parts);

  /// A dispatch block that ExpertSide has taken.
  void on_dispatch(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload) { arrived_.add(from, header, payload); }
  /// Admits a mini-batch where there is none. True when something changed.
  bool admit(double now, PhaseClock& clock);
  /// Whether the stage whose turn it is can run; and runs it.
  [[nodiscard]] bool ready() const;
  void run(double now, PhaseClock& clock);

 private:
  using MicroBatch = std::vector<std::int32_t>;  // segments
  void cut_mini_batch(std::span<const std::int32_t> segments);
  /// r1, r2 and order of the next mini-batch.
  void choose(std::span<const std::int32_t> segments);
  void run_attention(double now, PhaseClock& clock);
  /// The shared experts of this layer have turns of their own.
  [[nodiscard]] bool shared_apart() const;
  void next_turn();
  /// Of a micro-batch, through the whole run: r1 for each mini-batch, whether it has so many or not.
  [[nodiscard]] std::int32_t number_of(std::size_t batch) const { return first_number_ + static_cast<std::int32_t>(batch); }
  void run_experts(PhaseClock& clock);

  Parts parts_;
  int r1_ = 1;                          // of this mini-batch
  PipelineOrder order_ = PipelineOrder::asas;
  std::vector<MicroBatch> mini_batch_;  // micro-batches with rows; empty between mini-batches
  std::int32_t first_number_ = 0, next_number_ = 0;  // of the micro-batches of this mini-batch, and of the next one
  int layer_ = 0;                       // whose turn it is: this layer,
  std::size_t turn_ = 0;                // and of its turns
  PartQueue arrived_;
  PartQueue::Part running_;             // shares that are left of the part that is being computed
};

}  // namespace moebius::ranks
