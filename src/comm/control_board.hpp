// SPDX-License-Identifier: Apache-2.0
#pragma once
// What all ranks of a run know of each other without asking: counters that they add to, and what each
// rank is doing, for the watchdog's table. Counters live in rank 0's control words and move by
// MPI_Fetch_and_op; a state lives in its own rank's words and is a local store. No collective, no
// two-sided message, no exclusive lock, and no MPI_Compare_and_swap (with 64-bit words it crashes
// the default one-sided component of Open MPI 4.1).

#include <cstdint>
#include <vector>

#include "base/ids.hpp"
#include "comm/window.hpp"

namespace moebius::comm {

/// Shared counters, all 0 at the start. Each has a control word of rank 0.
enum class Counter : std::uint8_t { next_claim, rows_done, rows_failed, tokens_done, ranks_finished, stop, stop_at_once, rows_failed_before };
/// Words kept for counters; the enum may grow up to here.
inline constexpr std::size_t num_counter_words = 32;

/// What one rank was doing when it last said so.
struct RankState {
  RankId rank;
  bool answered = false;        ///< false: the rank did not let its words be read in time
  std::uint16_t phase = 0;      ///< meaning belongs to the caller
  RankId waits_for;             ///< invalid: for nobody
  double since_ago_s = 0;       ///< how long the rank has been in this phase
  std::int64_t queued_rows = 0;   ///< rows in its micro-queues
  std::int64_t expert_rows = 0;   ///< rows its experts have computed
  double published_ago_s = 0;   ///< how long ago it last said so; negative: it never did
};

class ControlBoard {
 public:
  /// Collective: the ranks agree on a start of time, so that ages can be read across ranks whose
  /// clocks differ. The Window outlives the board.
  ControlBoard(Session& session, Window& window);

  /// Returns the value before the addition. One round trip to rank 0, which must be making progress.
  std::int64_t fetch_add(Counter counter, std::int64_t value);
  [[nodiscard]] std::int64_t read(Counter counter);

  /// `since_s` is a time of now_s() of this rank. Costs three stores and MPI_Win_sync.
  void publish_state(std::uint16_t phase, RankId waits_for, double since_s);
  /// How much waits on this rank and how much its experts have done: two stores, for the display.
  void publish_load(std::int64_t queued_rows, std::int64_t expert_rows);
  /// Of all ranks, in order. Waits at most `patience_s` for ranks that hang.
  std::vector<RankState> read_states(double patience_s = 2.0);

 private:
  Window& window_;
  double start_s_;  ///< the common start of time on this rank's clock
};

}  // namespace moebius::comm
