// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one loop of a rank, for any of its roles: drain the rings, admit, run at most one micro-queue,
// send, let MPI progress. It fits a screen on purpose; the rest of the folder exists so that it can.
//
// It never blocks: every turn ends with a progress call, and a turn that found nothing to do yields (in slow motion, where
// many ranks share a core, it sleeps for a moment).
// It ends when the rank has nothing left to do for anybody: an attention rank has said FIN to every
// expert rank, an expert rank has FIN from every attention rank and nothing stored.

#include <functional>
#include <span>

#include "base/timing.hpp"
#include "comm/transport.hpp"
#include "policy/scheduler.hpp"
#include "ranks/arrivals.hpp"
#include "ranks/attention_side.hpp"
#include "ranks/expert_side.hpp"
#include "ranks/live_placement.hpp"
#include "ranks/outbox.hpp"
#include "ranks/pipeline_turns.hpp"
#include "ranks/stage_map.hpp"
#include "ranks/stage_pace.hpp"

namespace moebius::ranks {

/// What a rank is doing, for the watchdog and the progress display.
struct LoopStatus {
  Phase phase = Phase::idle;    ///< of the newest work, or idle / dispatch_wait
  RankId waits_for;             ///< invalid: nobody in particular
  double last_work_s = 0;       ///< when something last moved
  std::int64_t queued_rows = 0;
  std::int64_t expert_rows = 0; ///< computed so far
};

class EventLoop {
 public:
  struct Parts {
    comm::Transport& transport;
    Outbox& outbox;
    policy::Scheduler& scheduler;
    policy::QueueTable& table;
    PhaseClock& clock;
    StagePace& pace;
    Arrivals& arrivals;                   ///< hears of what comes in real time
    StageMap stages;
    AttentionSide* attention;             ///< nullptr without the role
    ExpertSide* experts;                  ///< nullptr without the role
    std::span<const RankId> expert_ranks;  ///< who gets FIN from an attention rank
    LivePlacement* live = nullptr;         ///< nullptr: experts stay where they are
    bool gather_short_batches = false;     ///< see show_held of AttentionSide and ExpertSide
    bool group_expert_calls = false;       ///< see ExpertSide::run_layer
    PipelineTurns* pipeline = nullptr;     ///< the order of a pipeline, in place of the scheduler's
  };
  /// Called at the end of every turn; has to be cheap.
  using Beat = std::function<void(const LoopStatus&)>;

  EventLoop(const Parts& parts, Beat beat);
  /// Turns until finished().
  void run();
  /// One turn of the loop, for run() and for tests that interleave ranks.
  void turn();
  [[nodiscard]] bool finished() const;

 private:
  enum class Outcome : std::uint8_t { worked, idle };
  Outcome work(double now);
  /// How long a short batch is held back. Of experts: what a second pass over them would cost. Of attention: twice that, since one
  /// pass may be the own one, whose outputs are waited for; on a rank without experts, twice what a second micro-batch would cost.
  [[nodiscard]] double expert_patience_s() const;
  [[nodiscard]] double attention_patience_s() const;
  /// New segments come into the layers. True when something changed.
  void move_experts(double now);
  bool admit(double now);
  /// What the scheduler picks; in a pipeline, what is its turn. heard: messages were delivered in this turn.
  bool run_stage(double now, bool heard);
  void run_queue(policy::QueueRef pick, double now);
  /// Whether messages that were taken at `now` were waited for, and since when they were under way.
  void note_arrivals(double now);
  void deliver(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload);
  void send_fin();

  Parts parts_;
  Beat beat_;
  LoopStatus status_;
  comm::MessageHandler handler_;
  double now_ = 0;
  bool fin_sent_ = false;
  bool waiting_ = false;                       // the last turn found nothing to do,
  double waiting_since_s_ = 0;                 // since then
  double first_sent_s_ = 0;                    // of the messages of this turn
  std::int64_t bytes_delivered_ = 0;
};

}  // namespace moebius::ranks
