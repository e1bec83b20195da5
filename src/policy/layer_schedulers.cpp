// SPDX-License-Identifier: Apache-2.0
#include "policy/layer_schedulers.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

bool longer(const QueueTable& queues, QueueRef a, QueueRef b) {
  const std::int64_t rows_a = queues.rows(a), rows_b = queues.rows(b);
  return rows_a != rows_b ? rows_a > rows_b : stands_before(a, b);
}

}  // namespace

std::optional<QueueRef> MtfsScheduler::pick(const QueueTable& queues, double /*now_s*/) {
  std::optional<QueueRef> best;
  for (const QueueRef q : queues.non_empty()) {
    if (!best || longer(queues, q, *best)) best = q;
  }
  return best;
}

std::optional<QueueRef> FlfsScheduler::pick(const QueueTable& queues, double /*now_s*/) {
  std::optional<QueueRef> best;
  for (const QueueRef q : queues.non_empty()) {
    if (!best || q.stage < best->stage || (q.stage == best->stage && longer(queues, q, *best))) best = q;
  }
  return best;
}

MbflfsScheduler::MbflfsScheduler(int block_stages) : block_stages_(block_stages) { MOEBIUS_EXPECT(block_stages >= 1); }

std::optional<QueueRef> MbflfsScheduler::pick(const QueueTable& queues, double /*now_s*/) {
  longest_.assign(static_cast<std::size_t>(queues.num_stages()), std::nullopt);
  for (const QueueRef q : queues.non_empty()) {
    auto& best = longest_[q.stage];
    if (!best || longer(queues, q, *best)) best = q;
  }
  std::optional<QueueRef> choice;
  std::int64_t most_rows = 0;
  const int num_stages = queues.num_stages();
  for (int begin = 0; begin < num_stages;) {
    const int end = begin + std::min(block_stages_, num_stages - begin);
    std::int64_t rows = 0;
    std::optional<QueueRef> lowest;
    for (int stage = begin; stage < end; ++stage) {
      if (!longest_[stage]) continue;
      if (!lowest) lowest = longest_[stage];
      rows += queues.rows(*longest_[stage]);
    }
    if (rows > most_rows) {
      most_rows = rows;
      choice = lowest;
    }
    begin = end;
  }
  return choice;
}

}  // namespace moebius::policy
