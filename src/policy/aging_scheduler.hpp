// SPDX-License-Identifier: Apache-2.0
#pragma once
// Aging around any scheduler, so that nothing starves: while some queue's oldest row has waited longer
// than the limit, the queue with the oldest row of all goes first (ties to the lowest (stage, queue));
// otherwise the inner scheduler picks. Picks forced by age are not shown to the inner scheduler.
// Made by make_scheduler, which puts it around every policy.

#include "policy/scheduler.hpp"

namespace moebius::policy {

class AgingScheduler final : public Scheduler {
 public:
  /// `limit_s` >= 0; infinity switches aging off.
  AgingScheduler(std::unique_ptr<Scheduler> inner, double limit_s);
  std::optional<QueueRef> pick(const QueueTable& queues, double now_s) override;

 private:
  std::unique_ptr<Scheduler> inner_;
  double limit_s_;
};

}  // namespace moebius::policy
