// SPDX-License-Identifier: Apache-2.0
#pragma once
// The expert role of a rank: rows arrive in token blocks, wait in one micro-queue per (layer, physical
// expert), are computed a queue at a time, and go back to where they came from. No state of a request
// lives here between blocks.
//
// Memory: a row in flight stands at most once on this rank, so the store holds at most
// (attention ranks) x (their token budget) hidden states, allocated once.

#include <cstdint>
#include <memory>
#include <span>
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
             Outbox& outbox, std::size_t max_payload_bytes);

  /// A dispatch block: its rows join their micro-queues.
  void on_dispatch(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload, double now);
  void on_fin() { ++num_fins_; }
  /// Run one micro-queue (up to the cap) and send the outputs back.
  void run(int layer, PlaceId place, PhaseClock& clock);
  /// Every source said FIN and nothing waits.
  [[nodiscard]] bool finished() const { return num_fins_ == options_.num_sources && num_stored_ == 0; }

  [[nodiscard]] const ExpertCounters& counters() const { return counters_; }
  /// Bytes of row store and scratch.
  [[nodiscard]] std::size_t bytes() const {
    return (static_cast<std::size_t>(options_.max_rows_stored + options_.max_rows_per_call)) * row_bytes_ + outputs_.size() * sizeof(float);
  }
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
    std::size_t head = 0;  // entries before it were taken
    [[nodiscard]] std::size_t size() const { return entries.size() - head; }
  };

  std::int32_t store_row(const std::byte* hidden, std::int32_t num_users);
  void release_row(std::int32_t stored_row);
  void send_outputs(int layer, std::span<const Entry> entries);
  void update_table(int layer, int place);

  ExpertSideOptions options_;
  model::ExpertStack& stack_;
  StageMap stages_;
  policy::QueueTable& table_;
  Outbox& outbox_;
  std::size_t row_bytes_, max_rows_per_block_;
  std::vector<std::vector<Queue>> queues_;             // [layer][place]
  std::vector<std::vector<std::int64_t>> load_;        // [layer][place]
  std::unique_ptr<std::byte[]> store_;                 // [max_rows_stored, hidden_size] compute type
  std::vector<std::int32_t> num_users_;                // [max_rows_stored] queue entries that still need the row
  std::vector<std::int32_t> free_rows_;
  std::int64_t num_stored_ = 0;
  std::vector<std::byte> inputs_;                      // [max_rows_per_call, hidden_size] compute type
  std::vector<float> outputs_;                         // [max_rows_per_call, hidden_size]
  std::vector<std::vector<std::int32_t>> by_source_;   // [rank] indices into the rows of a call
  std::vector<std::int32_t> pairs_per_row_;            // scratch of on_dispatch
  std::vector<Entry> taken_;                           // scratch of run
  int num_fins_ = 0;
  ExpertCounters counters_;
};

}  // namespace moebius::ranks
