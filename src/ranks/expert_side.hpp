// SPDX-License-Identifier: Apache-2.0
#pragma once
// The expert role of a rank: rows arrive in token blocks, wait in one micro-queue per (layer, physical
// expert), are computed a queue at a time, and go back to where they came from. No state of a request
// lives here between blocks.
//
// Memory: a row in flight stands at most once on this rank, so the store holds at most
// (attention ranks) x (their token budget) hidden states, allocated once. Outputs have no memory of their
// own: an expert call reads rows from the store and writes each where it leaves from, into ring slots.

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "base/timing.hpp"
#include "comm/transport.hpp"
#include "model/expert_stack.hpp"
#include "policy/scheduler.hpp"
#include "ranks/outbox.hpp"
#include "ranks/stage_map.hpp"
#include "ranks/wire.hpp"

namespace moebius::ranks {

/// Rows received, computed and sent back: equal at the end of every run, or rows were lost.
struct ExpertCounters {
  std::int64_t rows_received = 0, rows_computed = 0, rows_sent = 0, calls = 0;
};

/// Where the outputs of a colocated rank's own rows go: straight to where they will be combined.
struct OwnOutputs {
  std::function<float*(OutputTag)> place;  ///< of one output, [hidden_size]; empty where there is no attention role
  std::function<void(int layer, std::span<const OutputTag>)> arrived;
};

struct ExpertSideOptions {
  ComputeType compute = ComputeType::fp32;
  int hidden_size = 0;
  int max_rows_per_call = 0;          ///< cap of one expert call
  std::int64_t max_rows_stored = 0;   ///< attention ranks x token budget
  int num_sources = 0;                ///< attention ranks that send FIN
};

class ExpertSide {
 public:
  ExpertSide(const ExpertSideOptions& options, model::ExpertStack& stack, StageMap stages, policy::QueueTable& table,
             Outbox& outbox, RankId rank, std::size_t max_payload_bytes);
  /// From now on; before, own outputs travel like any others.
  void write_own_outputs(OwnOutputs own) { own_ = std::move(own); }

  /// A dispatch block: its rows join their micro-queues.
  void on_dispatch(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload, double now);
  void on_fin() { ++num_fins_; }
  /// Run one micro-queue (up to the cap) and send the outputs back.
  void run(int layer, PlaceId place, PhaseClock& clock);
  /// Every source said FIN and nothing waits.
  [[nodiscard]] bool finished() const { return num_fins_ == options_.num_sources && num_stored_ == 0; }

  [[nodiscard]] const ExpertCounters& counters() const { return counters_; }
  /// Bytes of the row store.
  [[nodiscard]] std::size_t bytes() const { return static_cast<std::size_t>(options_.max_rows_stored) * row_bytes_; }
  /// Rows computed per (layer, place): the load that placement policies use.
  [[nodiscard]] const std::vector<std::vector<std::int64_t>>& load() const { return load_; }

 private:
  struct Entry {
    std::int32_t stored_row;
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

  std::int32_t store_row(const std::byte* hidden, std::int32_t num_users);
  void release_row(std::int32_t stored_row);
  void take_rows(Queue& queue);
  /// Opens a message for each block of outputs and says where each output goes.
  void open_messages();
  void seal_messages(int layer);
  void update_table(int layer, int place);

  ExpertSideOptions options_;
  model::ExpertStack& stack_;
  StageMap stages_;
  policy::QueueTable& table_;
  Outbox& outbox_;
  RankId rank_;
  OwnOutputs own_;
  std::size_t row_bytes_, max_rows_per_block_;
  std::vector<std::vector<Queue>> queues_;             // [layer][place]
  std::vector<std::vector<std::int64_t>> load_;        // [layer][place]
  std::unique_ptr<std::byte[]> store_;                 // [max_rows_stored, hidden_size] compute type
  std::vector<std::int32_t> num_users_;                // [max_rows_stored] queue entries that still need the row
  std::vector<std::int32_t> free_rows_;
  std::int64_t num_stored_ = 0;
  std::vector<std::int32_t> touched_;                  // scratch of on_dispatch: places whose queues grew
  // The expert call that is being run, entries of one source side by side.
  struct Message {
    std::int32_t source;
    std::uint32_t num_rows;
  };
  std::vector<Entry> taken_;
  std::vector<const std::byte*> inputs_;               // of each entry
  std::vector<float*> outputs_;                        // of each entry
  std::vector<Message> messages_;                      // to other ranks, in the order of their entries
  std::vector<OutputTag> own_tags_;
  int num_fins_ = 0;
  ExpertCounters counters_;
};

}  // namespace moebius::ranks
