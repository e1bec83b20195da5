// SPDX-License-Identifier: Apache-2.0
#include "policy/aging_scheduler.hpp"

#include <utility>

#include "base/check.hpp"
#include "policy/layer_schedulers.hpp"

namespace moebius::policy {

AgingScheduler::AgingScheduler(std::unique_ptr<Scheduler> inner, double limit_s)
    : inner_(std::move(inner)), limit_s_(limit_s) {
  MOEBIUS_EXPECT(inner_ != nullptr && limit_s >= 0.0);
}

std::optional<QueueRef> AgingScheduler::pick(const QueueTable& queues, double now_s) {
  std::optional<QueueRef> oldest;
  double since_s = 0.0;
  for (const QueueRef q : queues.non_empty()) {
    const double arrived_s = queues.oldest_s(q);
    if (!oldest || arrived_s < since_s || (arrived_s == since_s && stands_before(q, *oldest))) {
      oldest = q;
      since_s = arrived_s;
    }
  }
  if (oldest && now_s - since_s > limit_s_) return oldest;
  return inner_->pick(queues, now_s);
}

}  // namespace moebius::policy
