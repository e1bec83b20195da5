// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which micro-queue runs next (AMoE, arXiv 2505.08944, section 3 and Algorithm 1). A pure decision:
// the scheduler sees lengths and ages of queues, never tokens, and never changes a queue.
//
// Queues stand in *stages* in the order a token meets them; stage s has num_queues(s) queues.
//   attention rank: stages 0..N, one queue each (N = final norm + LM head)
//   expert rank:    stages 0..N-1, one queue per hosted expert
//   colocated rank: attention 0, experts 0, attention 1, experts 1, ..., attention N
// Stage indices are cyclic for looking ahead. Ties always go to the lowest (stage, queue).

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "base/job.hpp"

namespace moebius::policy {

struct QueueRef {
  int stage = 0;
  int queue = 0;
  bool operator==(const QueueRef&) const = default;
};

/// Lengths (in rows) and ages of all micro-queues of a rank; kept by the event loop.
class QueueTable {
 public:
  /// `queues_per_stage[s]` >= 0 queues in stage s.
  explicit QueueTable(const std::vector<int>& queues_per_stage);

  [[nodiscard]] int num_stages() const { return static_cast<int>(first_.size()) - 1; }
  [[nodiscard]] int num_queues(int stage) const { return first_[stage + 1] - first_[stage]; }
  [[nodiscard]] std::int64_t rows(QueueRef q) const { return rows_[first_[q.stage] + q.queue]; }
  /// Arrival time of the oldest row; meaningless for an empty queue.
  [[nodiscard]] double oldest_s(QueueRef q) const { return oldest_[first_[q.stage] + q.queue]; }
  [[nodiscard]] std::int64_t stage_rows(int stage) const { return stage_rows_[stage]; }
  [[nodiscard]] std::int64_t total_rows() const { return total_rows_; }
  /// All queues that hold rows, in no order worth relying on: a picker breaks ties by (stage, queue).
  [[nodiscard]] std::span<const QueueRef> non_empty() const { return non_empty_; }

  /// The queue's new state after a push or a drain.
  void set(QueueRef q, std::int64_t rows, double oldest_s);

 private:
  std::vector<int> first_;  // [num_stages + 1] offset of each stage's queues
  std::vector<std::int64_t> rows_;
  std::vector<double> oldest_;
  std::vector<std::int64_t> stage_rows_;
  std::int64_t total_rows_ = 0;
  std::vector<QueueRef> non_empty_;  // capacity for every queue, so that set() never allocates
  std::vector<int> place_of_;        // [queues] index in non_empty_, -1: empty
};

/// One of the program's four seams. Deterministic: the same calls give the same picks.
class Scheduler {
 public:
  virtual ~Scheduler() = default;
  /// The queue to run now; nothing exactly when every queue is empty.
  virtual std::optional<QueueRef> pick(const QueueTable& queues, double now_s) = 0;
};

/// Make the scheduler that the job names, wrapped by aging (job.schedule.aging_ms).
std::unique_ptr<Scheduler> make_scheduler(const Job::Schedule& options);

}  // namespace moebius::policy
