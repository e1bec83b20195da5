// SPDX-License-Identifier: Apache-2.0
#pragma once
// The expert role of a rank: rows arrive in token blocks, wait in one micro-queue per (layer, physical
// expert), are computed a queue at a time, and go back to where they came from. No state of a request
// lives here between blocks.
//
// Memory: rows of attention ranks whose RowExchange is in reach are read and answered where they are. Of the others a
// row in flight stands at most once on this rank, so the store holds at most (such ranks) x (their token budget)
// hidden states, allocated once; an expert call writes each of their outputs where it leaves from, into ring slots.

#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "base/timing.hpp"
#include "comm/transport.hpp"
#include "model/expert_stack.hpp"
#include "model/row_exchange.hpp"
#include "policy/scheduler.hpp"
#include "ranks/outbox.hpp"
#include "ranks/stage_map.hpp"
#include "ranks/stage_pace.hpp"
#include "ranks/wire.hpp"

namespace moebius::ranks {

/// Rows received, computed and sent back: equal at the end of every run, or rows were lost.
struct ExpertCounters {
  std::int64_t rows_received = 0, rows_computed = 0, rows_sent = 0, calls = 0;
};

struct ExpertSideOptions {
  ComputeType compute = ComputeType::fp32;
  int hidden_size = 0;
  int num_experts = 0;                ///< logical ones of a layer
  int max_rows_per_call = 0;          ///< cap of one expert call
  std::int64_t max_rows_stored = 0;   ///< attention ranks out of reach x token budget
  int num_sources = 0;                ///< attention ranks that send FIN
  bool announce_in_place = true;      ///< tell sources in reach of their outputs; else whoever gave the rows knows
  std::vector<int> layer_before;      ///< [layers] the one with experts before each, around from the first to the last; or -1
};

class ExpertSide {
 public:
  ExpertSide(const ExpertSideOptions& options, model::ExpertStack& stack, StageMap stages, policy::QueueTable& table,
             Outbox& outbox, StagePace& pace, std::size_t max_payload_bytes);
  /// The rows of an attention rank are in reach.
  void reach(RankId source, const model::RowExchange& rows);

  /// A dispatch block, with rows or in place: its rows join their micro-queues.
  void on_dispatch(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload, double now);
  void on_dispatch_in_place(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload, double now);
  /// One row that stays where it is, for one expert, sent by a generation of the placement. input: [hidden_size] in compute
  /// type; output: [hidden_size].
  void add_in_place(int layer, PlaceId place, std::uint32_t generation, RankId from, OutputTag tag, const std::byte* input, float* output, double now);
  [[nodiscard]] std::size_t num_queued(int layer, PlaceId place) const {
    return queues_[static_cast<std::size_t>(layer)][place.idx()].size();
  }
  void on_fin(RankId from);
  /// Run one micro-queue (up to the cap, and to most_rows) and send the outputs back; returns how many rows.
  std::int64_t run(int layer, PlaceId place, PhaseClock& clock, std::int64_t most_rows = std::numeric_limits<std::int64_t>::max());
  /// In a pipeline, where rows of a later part of one source may have come before those of another source: the first so many rows of
  /// each source are the next to be run.
  void bring_forward(int layer, PlaceId place, std::span<const SourceRows> rows);
  /// In a pipeline: which part of each source the rows of the next calls came with; their outputs say so.
  void answer_for(std::span<const std::pair<RankId, PartTag>> sources);
  /// All micro-queues of a layer with rows (each up to the cap), one behind the other: a grouped call, one stage in slow motion. The
  /// outputs of a source leave together, behind the last of them.
  std::int64_t run_layer(int layer, PhaseClock& clock);
  /// A layer whose rows are few waits at most so long for those of sources that were seen at the layer before; its queues look empty
  /// to the scheduler meanwhile. Called before each pick; 0 seconds: nothing waits.
  void show_held(double now, double patience_s);
  /// Every source said FIN and nothing waits.
  [[nodiscard]] bool finished() const {
    return num_fins_ == options_.num_sources && counters_.rows_computed == counters_.rows_received;
  }

  /// Time spent in expert calls, and the longest of them.
  [[nodiscard]] double expert_seconds() const { return expert_s_; }
  [[nodiscard]] double longest_call_s() const { return longest_call_s_; }
  /// What a pass over all hosted experts of a layer costs however few rows there are, in seconds: reading the weights.
  /// By the lower edge of the last calls.
  [[nodiscard]] double fixed_pass_s() const { return fixed_call_s_ * max_hosted_; }
  [[nodiscard]] const ExpertCounters& counters() const { return counters_; }
  /// Bytes of the row store.
  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(options_.max_rows_stored) * row_bytes_; }
  /// Rows computed per (layer, logical expert): the load that placement policies use.
  [[nodiscard]] const std::vector<std::vector<std::int64_t>>& load() const { return load_; }

 private:
  struct Entry {
    const std::byte* input;
    float* output;            // in place only
    std::int32_t stored_row;  // or in_place
    std::int32_t source;
    OutputTag tag;
    double arrived_s;
  };
  struct Queue {
    std::vector<Entry> entries;
    std::size_t head = 0;   // entries before it were taken
    std::size_t shown = 0;  // length that the queue table knows
    [[nodiscard]] std::size_t size() const { return entries.size() - head; }
  };

  /// A part of a call: so many rows of a place.
  struct Share {
    PlaceId place;
    std::int64_t most_rows;
  };
  struct Layer {
    std::int64_t rows = 0;
    double first_s = 0;    // when the first of them came
    bool held = false;     // the queue table knows of none
  };

  static constexpr std::int32_t in_place = -1;
  enum class Call : std::uint8_t { single, grouped };
  std::int64_t run_shares(int layer, std::span<const Share> shares, Call call, PhaseClock& clock);
  void compute(int layer, PlaceId place, std::size_t begin, std::size_t end, PhaseClock& clock);
  [[nodiscard]] bool is_held(int layer) const;
  void saw(RankId source, int layer);
  void update_layer(int layer);
  [[nodiscard]] std::byte* stored(std::int32_t row) { return store_.get() + static_cast<std::size_t>(row) * row_bytes_; }
  std::int32_t store_row(const std::byte* hidden, std::int32_t num_users);
  void release_row(std::int32_t stored_row);
  void add_entry(int layer, std::int32_t place, std::uint32_t generation, const Entry& entry);
  /// The queue table learns of the queues that grew.
  void show_grown(int layer);
  void take_rows(Queue& queue, std::int64_t most_rows);
  void order_by_source();
  /// Says where each output goes, and opens a message for each block of those that travel.
  void open_messages();
  void open_message(std::span<const std::size_t> entries);
  void seal_messages(int layer);
  void update_table(int layer, int place);

  ExpertSideOptions options_;
  model::ExpertStack& stack_;
  StageMap stages_;
  policy::QueueTable& table_;
  Outbox& outbox_;
  StagePace& pace_;
  std::vector<std::optional<model::RowExchange>> exchanges_;  // [source rank]
  std::size_t row_bytes_, max_rows_per_block_, max_tags_per_block_;
  std::vector<std::vector<Queue>> queues_;             // [layer][place]
  std::vector<std::vector<std::int64_t>> load_;        // [layer][logical expert]
  std::unique_ptr<std::byte[]> store_;                 // [max_rows_stored, hidden_size] compute type
  std::vector<std::int32_t> num_users_;                // [max_rows_stored] queue entries that still need the row
  std::vector<std::int32_t> free_rows_;
  std::vector<std::int32_t> touched_;                  // places whose queues grew since the table was told
  // The expert call that is being run, entries of one source side by side.
  struct Message {
    std::int32_t source;
    std::size_t begin;  // of its entries in order_
    std::uint32_t num_rows;
    bool in_place;
  };
  std::vector<Entry> taken_;
  std::vector<Share> shares_;                          // of a grouped call
  std::vector<std::size_t> ends_;                      // [shares] behind its entries in taken_
  std::vector<std::size_t> order_;                     // entries of one source side by side, in order of arrival
  std::vector<const std::byte*> inputs_;               // of each entry
  std::vector<float*> outputs_;                        // of each entry
  std::vector<Message> messages_;                      // in the order of their entries
  std::vector<PartTag> parts_;                         // [sources] as answer_for said
  std::vector<Layer> waiting_;                         // [layer]
  std::vector<int> last_layer_;                        // [source rank] of its last rows; -1: none yet, or it said FIN
  int num_held_ = 0;
  double now_ = 0, patience_s_ = 0;
  double fixed_call_s_ = 0, row_s_ = 0, expert_s_ = 0, longest_call_s_ = 0;
  int max_hosted_ = 0;
  int num_fins_ = 0;
  ExpertCounters counters_;
};

}  // namespace moebius::ranks
