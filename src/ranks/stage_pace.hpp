// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long the stages of a rank last: the one place that knows. In real time as long as they take (an expert call so many
// times as long where the job emulates a slower rank); in slow motion as long as a device model says, times the dilation.
//
// Slow motion. A rank has a time of its own, time_s(), on the one clock of the machine. A stage begins at that time and
// moves it on by the modelled duration; the rank then waits, asleep, until the clock has come as far. Waking up late, or work
// between two stages, therefore shifts nothing: the next stage begins where the last one ended. When a rank had nothing to do,
// its time is that of the message that woke it (link_delay.hpp), or the clock's where only time had to pass. A rank whose
// real work takes longer than its model is late; it catches up in later stages, and counts how late it was.
//
// Whoever ends a stage marks its phase afterwards; clocks of phases go by time_s(), so that /ranks/timing holds the dilated durations
// of the models.

#include <cstdint>
#include <functional>

#include "policy/device_model.hpp"

namespace moebius::ranks {

/// What slow motion has to say for itself; zeros in real time.
struct PaceCounters {
  std::int64_t stages = 0;
  std::int64_t late_stages = 0;    ///< their real work was not done in time, or the rank was late before
  double late_s = 0;               ///< sum over stages of how late their ends were
  double latest_s = 0;             ///< largest of these
  double modelled_s = 0;           ///< sum of the durations, dilated
  double shortest_s = 0;           ///< shortest duration; 0: none
  std::int64_t messages = 0;
  std::int64_t missed_messages = 0;  ///< should have been there when the stage before was chosen, but their sender was late
};

class StagePace {
 public:
  /// Real time; an expert call lasts `expert_slowdown` times as long as it takes.
  explicit StagePace(double expert_slowdown = 1.0) : expert_slowdown_(expert_slowdown) {}
  enum class ExpertStage : std::uint8_t { call, layer };  ///< a stage of its own, or part of one for a whole layer
  /// Slow motion; `times` outlives this.
  StagePace(const policy::StageTimes& times, double dilation, double expert_slowdown, ExpertStage expert_stage);

  [[nodiscard]] bool slow() const { return times_ != nullptr; }
  /// Called while a rank waits, so that others see progress. Must not come back to the rank's queues.
  void while_waiting(std::function<void()> f) { while_waiting_ = std::move(f); }
  /// The loop begins now.
  void start();

  // Ends of stages; in real time they do nothing. Rows are those of the micro-batch or call.
  void attention(const policy::AttentionWork& work) {
    if (slow()) spend(times_->attention_s(work));
  }
  void combine(std::int64_t rows) {
    if (slow()) spend(times_->combine_s(rows));
  }
  void router(std::int64_t rows) {
    if (slow()) spend(times_->router_s(rows));
  }
  void shared_experts(std::int64_t rows) {
    if (slow()) spend(times_->shared_experts_s(rows));
  }
  void dense_mlp(std::int64_t rows) {
    if (slow()) spend(times_->dense_mlp_s(rows));
  }
  void lm_head(std::int64_t rows) {
    if (slow()) spend(times_->lm_head_s(rows));
  }
  /// The end of an expert call that really began at `begin_s`; how long it lasts, on the clock.
  double expert_call(double begin_s, std::int64_t rows);
  /// Between the calls of a group, in real time: others see progress.
  void between_calls() {
    if (!slow()) while_waiting_();
  }
  /// The end of a layer's calls, where they are one stage.
  void expert_layer();

  // The time of this rank, in slow motion.
  [[nodiscard]] double time_s() const { return time_s_; }
  /// Not before: a message was there, or all were.
  [[nodiscard]] double elapsed_s() const { return time_s_ - start_s_; }
  void reach(double time_s) { time_s_ = time_s > time_s_ ? time_s : time_s_; }
  /// What runs next was chosen, at time_s().
  void choose() { chosen_s_ = time_s_; }
  /// A message came whose time of arrival is this.
  void heard(double arrival_s) {
    ++counters_.messages;
    counters_.missed_messages += arrival_s < chosen_s_ ? 1 : 0;
  }
  /// Sleeps until the clock has come to time_s().
  void catch_up();
  /// The rank ran out of work at time_s(): whatever arrives next moves its time on.
  [[nodiscard]] bool out_of_work() const { return out_of_work_; }
  enum class Turn : std::uint8_t { stage, no_stage };
  void end_turn(Turn turn) { out_of_work_ = turn == Turn::no_stage; }
  /// When the next message that is under way will be there; infinity: none is known.
  void expect_message(double time_s) { next_message_s_ = time_s; }
  /// An idle turn: gives the core away for a moment, at most until the next message.
  void rest();

  [[nodiscard]] const PaceCounters& counters() const { return counters_; }

 private:
  /// The stage took so long, in seconds of the device.
  void spend(double device_s);
  void sleep_until(double end_s);

  const policy::StageTimes* times_ = nullptr;
  double dilation_ = 1, expert_slowdown_ = 1;
  ExpertStage expert_stage_ = ExpertStage::call;
  std::function<void()> while_waiting_ = [] {};
  double start_s_ = 0, time_s_ = 0, chosen_s_ = 0, next_message_s_ = 0, rest_s_ = 0;
  double waits_since_s_ = 0;  // by the clock: a rank that is late has not waited for that long
  double layer_s_ = 0;  // of the device, of the calls of the layer so far
  bool out_of_work_ = true;
  PaceCounters counters_;
};

}  // namespace moebius::ranks
