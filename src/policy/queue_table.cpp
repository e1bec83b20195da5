// SPDX-License-Identifier: Apache-2.0
#include "base/check.hpp"
#include "policy/scheduler.hpp"

namespace moebius::policy {

QueueTable::QueueTable(const std::vector<int>& queues_per_stage) {
  first_.reserve(queues_per_stage.size() + 1);
  first_.push_back(0);
  for (const int queues : queues_per_stage) {
    MOEBIUS_EXPECT(queues >= 0);
    first_.push_back(first_.back() + queues);
  }
  const auto num_all = static_cast<std::size_t>(first_.back());
  rows_.assign(num_all, 0);
  oldest_.assign(num_all, 0.0);
  place_of_.assign(num_all, -1);
  stage_rows_.assign(queues_per_stage.size(), 0);
  non_empty_.reserve(num_all);
}

void QueueTable::set(QueueRef q, std::int64_t rows, double oldest_s) {
  MOEBIUS_EXPECT(q.stage >= 0 && q.stage < num_stages() && q.queue >= 0 && q.queue < num_queues(q.stage));
  MOEBIUS_EXPECT(rows >= 0);
  const int idx = first_[q.stage] + q.queue;
  const std::int64_t change = rows - rows_[idx];
  rows_[idx] = rows;
  oldest_[idx] = oldest_s;
  stage_rows_[q.stage] += change;
  total_rows_ += change;

  int& place = place_of_[idx];
  if (rows > 0 && place < 0) {
    place = static_cast<int>(non_empty_.size());
    non_empty_.push_back(q);
  } else if (rows == 0 && place >= 0) {
    const QueueRef last = non_empty_.back();
    non_empty_[place] = last;
    place_of_[first_[last.stage] + last.queue] = place;
    non_empty_.pop_back();
    place = -1;
  }
}

}  // namespace moebius::policy
