// SPDX-License-Identifier: Apache-2.0
#pragma once
// One rank of a job, put together: weights, queues, scheduler and loop for the roles it has, over a
// given transport. run_job makes one per process; tests make several in one process over loopback.

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/job.hpp"
#include "base/tensor.hpp"
#include "comm/peer_memory.hpp"
#include "comm/ring.hpp"
#include "comm/transport.hpp"
#include "model/expert_stack.hpp"
#include "model/weights.hpp"
#include "model/tokenizer.hpp"
#include "policy/placement.hpp"
#include "policy/scheduler.hpp"
#include "ranks/event_loop.hpp"
#include "ranks/link_delay.hpp"
#include "ranks/live_placement.hpp"
#include "ranks/lockstep_loop.hpp"
#include "ranks/stage_pace.hpp"
#include "ranks/workload.hpp"

namespace moebius::ranks {

/// The limits of a job with the sizes that the user left open filled in; the same on every rank.
Job::Limits resolve_limits(const Job& job, const ModelConfig& config);

/// Whether rows cross rings, between some ranks at least, or all stay in exchanges that both sides reach.
enum class Rows : std::uint8_t { travel, in_place };

/// Rings that suit the model where a rank reads from up to `num_sources` others. A slot takes at least one row with all its
/// experts; the slots take what a rank sends while its reader computes a whole micro-batch, fewer where many rings
/// would take much memory.
/// With slow motion there is a stamp in front of each message.
comm::RingOptions ring_options(const ModelConfig& config, const Job& job, std::size_t num_sources, Rows rows);

/// Memory for the exchange of rows that a rank has to give.
std::size_t exchange_bytes(const Job& job, const ModelConfig& config, Roles roles);

/// Whether experts move while the job runs.
bool rebalances(const Job& job, std::size_t num_expert_ranks);
/// Memory for that, which a rank has to give: its expert weights are in it.
std::size_t live_bytes(const Job& job, const ModelConfig& config, const policy::TablePlacement& placement, std::span<const RankId> expert_ranks,
                       RankId rank);

class RankEngine {
 public:
  struct Parts {
    const Job& job;
    const ModelConfig& config;
    const TensorLookup& tensors;
    const model::Tokenizer* tokenizer;  ///< attention roles only
    const model::ChatTemplate* chat_template;  ///< attention roles only
    const policy::TablePlacement& placement;
    Roles roles;
    std::vector<RankId> attention_ranks, expert_ranks;
    comm::Transport& transport;
    ClaimSource claim;  ///< attention roles only
    RowSink sink;       ///< attention roles only
    model::WeightPlace attention_weights = {};  ///< where they are put and who shares the work; default: this rank alone
    /// Ranks of this node, this one among them, and the memory that each gave for the exchange of its rows
    /// (exchange_bytes): what they have in flight is not copied. Empty: only own rows of a colocated rank are not.
    std::map<RankId, std::span<std::byte>> exchanges = {};
    comm::PeerMemory* peers = nullptr;     ///< of live_bytes, where experts move while the job runs, else nullptr
    comm::AllToAll* all_to_all = nullptr;  ///< for schedule.execution = lockstep, else nullptr
  };
  /// Reads and packs the weights that the rank's roles need, or its share of those that a node shares: then the
  /// loop may only run when all sharers are here.
  RankEngine(Parts parts, PhaseClock& clock, EventLoop::Beat beat);
  ~RankEngine();

  /// Workload::drop_unfinished, where there is one.
  void drop_unfinished();
  /// Until the job is done, in the way of its schedule.execution.
  void run();
  [[nodiscard]] EventLoop& loop() { return *loop_; }  ///< of asynchronous execution
  [[nodiscard]] const Scorer* scorer() const { return scorer_.get(); }        ///< nullptr without the role
  [[nodiscard]] const Workload* workload() const { return workload_.get(); }  ///< nullptr without the role
  [[nodiscard]] const AttentionSide* attention() const { return attention_.get(); }
  [[nodiscard]] const model::KvCache* kv() const { return kv_.get(); }
  [[nodiscard]] const policy::ReplicaRouter* router() const { return router_.get(); }  ///< nullptr without attention
  [[nodiscard]] const CapacityStage* capacity() const { return capacity_.get(); }  ///< nullptr where experts have none
  [[nodiscard]] const policy::RoutingRecorder* recorder() const { return recorder_.get(); }  ///< nullptr: not recording
  [[nodiscard]] const policy::Emulation* emulation() const { return emulation_ ? &*emulation_ : nullptr; }  ///< nullptr in real time
  [[nodiscard]] const StagePace& pace() const { return pace_; }
  [[nodiscard]] const Arrivals& arrivals() const { return arrivals_; }
  /// Whether arrivals().exposed_s() says something: not with clocks of several nodes, nor in lock-step in real time, where waiting
  /// for blocks cannot be told from waiting for ranks.
  [[nodiscard]] bool measures_overlap(int num_nodes) const { return pace_.slow() || (num_nodes == 1 && lockstep_ == nullptr); }
  /// From here on `timeline` hears of blocks of rows that come to this rank.
  void record_in(Timeline* timeline) { arrivals_.record_in(timeline); }
  [[nodiscard]] const ExpertSide* experts() const { return expert_side_.get(); }
  [[nodiscard]] const policy::PipelineSolver* solver() const { return solver_.get(); }  ///< nullptr where nothing is left to one
  [[nodiscard]] const LivePlacement* live() const { return live_.get(); }  ///< nullptr: experts stay where they are
  /// Packed weights of this rank.
  [[nodiscard]] std::int64_t weight_bytes() const;
  /// Bytes by kind, so that peak memory can be explained.
  [[nodiscard]] std::vector<std::pair<std::string, std::int64_t>> memory_by_kind() const;

 private:
  [[nodiscard]] StagePace make_pace() const;
  [[nodiscard]] std::unique_ptr<DelayedTransport> delay_messages();
  void make_attention(ClaimSource claim, RowSink sink);
  void make_experts();
  void make_expert_side();
  void make_ring_sender();
  void make_live();
  void make_solver();
  [[nodiscard]] bool has_replicas() const;
  void make_loop(std::vector<int> hosted_per_layer, PhaseClock& clock, EventLoop::Beat beat);

  Parts parts_;
  ModelConfig row_config_;  // config_of_rows
  Job::Limits limits_;
  StageMap stages_;
  std::optional<policy::Emulation> emulation_;  // none in real time
  StagePace pace_;
  Arrivals arrivals_;
  std::unique_ptr<DelayedTransport> delayed_;   // of asynchronous execution in slow motion
  std::unique_ptr<ExchangeDelay> exchange_delay_;  // of lock-step in slow motion
  comm::Transport& transport_;                  // the given one, or delayed_
  Outbox outbox_;
  std::unique_ptr<policy::TablePlacement> live_maps_;  // the placement that attention sends by, where it changes
  std::unique_ptr<model::ExpertStack> expert_stack_;
  std::unique_ptr<policy::QueueTable> table_;
  std::unique_ptr<policy::Scheduler> scheduler_;
  std::unique_ptr<model::AttentionStack> attention_stack_;
  std::unique_ptr<model::KvCache> kv_;
  std::unique_ptr<model::TokenStates> states_;
  std::unique_ptr<Scorer> scorer_;
  std::unique_ptr<Workload> workload_;
  std::unique_ptr<policy::RoutingRecorder> recorder_;
  std::unique_ptr<policy::ReplicaRouter> router_;
  std::unique_ptr<CapacityStage> capacity_;
  std::unique_ptr<AttentionSide> attention_;
  std::unique_ptr<ExpertSide> expert_side_;
  std::unique_ptr<RingSender> ring_sender_;     // one of the two
  std::unique_ptr<PairCollector> collector_;
  std::unique_ptr<LivePlacement> live_;
  std::unique_ptr<policy::PipelineSolver> solver_;  // where a pipeline leaves something to it
  std::unique_ptr<PipelineTurns> pipeline_; // for schedule.execution = pipeline
  std::unique_ptr<EventLoop> loop_;         // one of the two
  std::unique_ptr<LockstepLoop> lockstep_;
};

}  // namespace moebius::ranks
