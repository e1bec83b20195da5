// SPDX-License-Identifier: Apache-2.0
#pragma once
// The attention role of a rank: cuts sequences into segments, moves segments through the layers one
// micro-batch at a time, sends their rows to the experts and takes the outputs back.
//
// Order: segments of one sequence enter each layer's queue in order (a segment may enter layer l only
// after its predecessor has), and queues are first in, first out; so a key is always written before a
// later position looks for it, in an earlier micro-batch or earlier in the same one.
// Bound: every token in flight holds a row of TokenStates, and there are max_tokens_in_flight of them.

#include <cstdint>
#include <deque>
#include <memory>
#include <numeric>
#include <span>
#include <vector>

#include "base/timing.hpp"
#include "comm/transport.hpp"
#include "model/attention_stack.hpp"
#include "model/kv_cache.hpp"
#include "model/token_states.hpp"
#include "policy/replica_router.hpp"
#include "policy/routing_recorder.hpp"
#include "policy/scheduler.hpp"
#include "ranks/capacity_stage.hpp"
#include "ranks/generations.hpp"
#include "ranks/row_sender.hpp"
#include "ranks/stage_map.hpp"
#include "ranks/stage_pace.hpp"
#include "ranks/wire.hpp"
#include "ranks/workload.hpp"

namespace moebius::ranks {

/// (row, expert) pairs sent and outputs received: equal at the end of every run, or rows were lost.
struct AttentionCounters {
  std::int64_t pairs_sent = 0, outputs_received = 0, micro_batches = 0, segments = 0;
};

/// When the shared experts of a micro-batch run: behind its dispatch, so that routed experts work meanwhile; before it; or
/// when run_shared says so.
enum class SharedExperts : std::uint8_t { behind_dispatch, before_dispatch, apart };

class AttentionSide {
 public:
  struct Parts {
    const ModelConfig& config;
    ComputeType compute;
    model::AttentionStack& stack;
    model::KvCache& kv;
    model::TokenStates& states;
    policy::ReplicaRouter& router;
    Workload& workload;
    Scorer& scorer;
    RowSender& sender;
    policy::QueueTable& table;
    StagePace& pace;
    bool defer_dispatch = false;                  ///< rows are kept until dispatch_step
    SharedExperts shared = SharedExperts::behind_dispatch;
    int num_token_parts = 1;                      ///< in which the rows of a micro-batch are dispatched
    CapacityStage* capacity = nullptr;            ///< nullptr: experts have no capacity
    policy::RoutingRecorder* recorder = nullptr;  ///< nullptr: routing is not recorded
  };
  AttentionSide(const Parts& parts, StageMap stages, int max_micro_batch_tokens);

  /// Claim, admit, and cut segments as far as the token budget allows. True when something changed.
  bool admit(double now, PhaseClock& clock);
  /// A queue that holds few rows while more are under way to it is held back, so that all pass in one micro-batch: weights
  /// are then read once for all. To be called in every turn; a queue is held for `patience_s` at most, 0: not at all.
  void show_held(double now, double patience_s);
  /// What a layer costs however few rows a micro-batch has, in seconds: by the lower edge of the last ones.
  [[nodiscard]] double fixed_stage_s() const { return fixed_stage_s_; }
  /// Run layer `layer` (num_layers: final norm, LM head) on one micro-batch of its queue.
  void run(int layer, double now, PhaseClock& clock);
  /// In pipelines, where whoever calls knows which segments go together: those that wait in a queue, in order of entry; whether
  /// all of some are there; one micro-batch of them, that has a number; and its shared experts, where they run apart.
  [[nodiscard]] std::vector<std::int32_t> queued_segments(int layer) const;
  [[nodiscard]] std::int32_t segment_tokens(std::int32_t idx) const { return segments_[static_cast<std::size_t>(idx)].num_tokens(); }
  [[nodiscard]] bool all_entered(int layer, std::span<const std::int32_t> segments) const;
  /// What attention looks at in some segments, in a layer without a window.
  [[nodiscard]] policy::AttentionWork work_of(std::span<const std::int32_t> segments) const;
  /// From the next micro-batch on: token parts, and the place of the shared experts.
  void set_pipeline(int num_token_parts, PipelineOrder order);
  void run_some(int layer, std::int32_t micro_batch, std::span<const std::int32_t> segments, double now, PhaseClock& clock);
  void run_shared(LayerId layer, std::int32_t micro_batch, std::span<const std::int32_t> segments, PhaseClock& clock);
  void on_outputs(const comm::MessageHeader& header, std::span<const std::byte> payload, double now);
  void on_outputs_in_place(const comm::MessageHeader& header, std::span<const std::byte> payload, double now);
  /// One of the outputs that a row waits for in `layer` stands in its place.
  void on_output(OutputTag tag, int layer, double now);
  /// Where it belongs. // [hidden_size]
  [[nodiscard]] float* output_place(OutputTag tag) {
    return parts_.states.expert_output(static_cast<std::int32_t>(tag.row), static_cast<int>(tag.k_idx));
  }
  /// Experts of the rows that were kept, and their dispatch, for all micro-batches of a layer at once: rows_of_all,
  /// [num_experts], are those of all ranks.
  [[nodiscard]] std::span<const std::int32_t> kept_experts() const { return dispatch_experts_; }
  void dispatch_step(LayerId layer, std::span<const std::int64_t> rows_of_all, bool counts) {
    send(layer, parts_.router.route_of_all(layer, dispatch_experts_, rows_of_all, counts));
  }
  /// Tokens that wait in the queue of a layer.
  [[nodiscard]] std::int64_t num_queued(int layer) const { return queued_tokens_[static_cast<std::size_t>(layer)]; }

  /// From here on rows are sent by another generation of the placement, which the router knows.
  void begin_generation(std::uint32_t generation) { generations_.begin(generation); }
  [[nodiscard]] const Generations& generations() const { return generations_; }
  /// In the queues of all layers.
  [[nodiscard]] std::int64_t num_queued() const { return std::accumulate(queued_tokens_.begin(), queued_tokens_.end(), std::int64_t{0}); }

  /// No row is left to claim, compute or finish.
  [[nodiscard]] bool finished() const { return num_in_flight_ == 0 && parts_.workload.finished(); }
  [[nodiscard]] std::int64_t num_in_flight() const { return num_in_flight_; }
  [[nodiscard]] const AttentionCounters& counters() const { return counters_; }

 private:
  [[nodiscard]] Segment& segment(std::int32_t idx) { return segments_[static_cast<std::size_t>(idx)]; }
  std::int32_t new_segment(const Workload::Piece& piece);
  void release_segment(std::int32_t idx);
  /// The segment may enter `layer` once its predecessor has.
  void make_ready(std::int32_t idx, int layer, double now);
  void enter_queue(std::int32_t idx, double now);
  void update_table(int layer);
  [[nodiscard]] bool is_held(int layer);
  void drain_queue(int layer);
  /// The micro-batch is made of the segment too.
  void add_to_batch(std::int32_t idx);
  void clear_batch();
  /// Layer `layer` on the micro-batch that was put together.
  void run_batch(int layer, double now, PhaseClock& clock);
  /// What attention looks at in the micro-batch.
  [[nodiscard]] policy::AttentionWork attention_work(LayerId layer) const;
  void run_layer(LayerId layer, double now, PhaseClock& clock);
  void apply_capacity(LayerId layer);
  void run_lm_head(PhaseClock& clock);
  /// Log-probabilities of the rows in scored_.
  void score_rows();
  void dispatch(LayerId layer);
  /// The kept rows go where their pairs are served, part by part.
  void send(LayerId layer, std::span<const policy::PhysicalExpert> hosts);
  void send_part(LayerId layer, PartTag part, std::size_t begin, std::size_t end, std::span<const policy::PhysicalExpert> hosts);
  void add_shared_experts(LayerId layer, PhaseClock& clock);

  /// What stands behind a row of an LM head call.
  struct HeadPosition {
    Sequence* sequence;
    std::int32_t fed_idx;
    std::size_t num_wanted = 0;  // logits
  };
  struct HeadRows {
    std::vector<HeadPosition> positions;
    std::vector<std::int32_t> rows;  // [positions.size()]
  };

  Parts parts_;
  StageMap stages_;
  int max_micro_batch_tokens_;
  std::vector<Segment> segments_;                 // pool
  std::vector<std::int32_t> free_segments_;
  std::vector<std::deque<std::int32_t>> queues_;  // [num_layers + 1] segments in order of entry
  std::vector<std::int64_t> queued_tokens_;       // [num_layers + 1]
  std::vector<std::int64_t> under_way_tokens_;    // [num_layers + 1] at experts, on their way to the queue
  std::vector<std::uint8_t> held_;                // [num_layers + 1]
  int num_held_ = 0;
  std::int64_t enough_tokens_;
  double now_ = 0, patience_s_ = 0, fixed_stage_s_ = 0;
  std::vector<std::int32_t> segment_of_row_;      // [TokenStates capacity]
  // The micro-batch that is being run.
  std::int32_t batch_number_ = -1;                // of a pipeline
  std::vector<std::int32_t> batch_segments_, batch_rows_;
  std::vector<int> batch_positions_;
  std::vector<model::SegmentRef> batch_refs_;
  std::vector<TokenId> new_tokens_;
  std::vector<std::uint8_t> batch_counted_;       // [rows of the micro-batch] for its capacity
  // Rows to be sent: those of the micro-batch, or of all micro-batches of a layer where they are kept.
  std::vector<std::int32_t> dispatch_rows_;
  std::vector<std::int32_t> dispatch_experts_;    // [rows to be sent, experts_per_token]
  HeadRows scored_, drawn_;                       // positions whose log-probabilities, or whole logits, are wanted
  std::vector<model::LogitsSummary> summaries_;   // [scored_]
  std::vector<model::WantedLogit> wanted_logits_; // of scored_, in its order
  std::vector<std::vector<RowPair>> pairs_to_;    // [num_ranks] of the micro-batch, by rows
  std::int64_t num_in_flight_ = 0;                // segments
  Generations generations_;
  std::int32_t rows_free_;
  AttentionCounters counters_;
};

}  // namespace moebius::ranks
