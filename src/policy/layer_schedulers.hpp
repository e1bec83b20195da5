// SPDX-License-Identifier: Apache-2.0
#pragma once
// The three simple schedulers that `defrag` is measured against (AMoE, section 3). Made by
// make_scheduler; tests may make them alone, without aging.
//   mtfs      the longest queue of all
//   flfs      the lowest stage with work, there the longest queue
//   mbflfs(s) stages in blocks 0..s-1, s..2s-1, ...; the block with most work, then as flfs inside it.
//             The work of a stage is what one pick of it would run, its longest queue. That makes
//             s = 1 the same as mtfs and s >= stages the same as flfs, pick by pick.
// All cost O(stages + non-empty queues), allocate nothing, and give ties to the lowest (stage, queue).

#include "policy/scheduler.hpp"

namespace moebius::policy {

/// Reading order: the lower stage first, then the lower queue. Decides every tie.
constexpr bool stands_before(QueueRef a, QueueRef b) {
  return a.stage != b.stage ? a.stage < b.stage : a.queue < b.queue;
}

class MtfsScheduler final : public Scheduler {
 public:
  std::optional<QueueRef> pick(const QueueTable& queues, double now_s) override;
};

class FlfsScheduler final : public Scheduler {
 public:
  std::optional<QueueRef> pick(const QueueTable& queues, double now_s) override;
};

class MbflfsScheduler final : public Scheduler {
 public:
  /// `block_stages` >= 1 consecutive stages make a block; the last block may be shorter.
  explicit MbflfsScheduler(int block_stages);
  std::optional<QueueRef> pick(const QueueTable& queues, double now_s) override;

 private:
  int block_stages_;
  std::vector<std::optional<QueueRef>> longest_;  // [stages] longest queue of each stage in this pick
};

}  // namespace moebius::policy
