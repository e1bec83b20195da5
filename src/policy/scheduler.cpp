// SPDX-License-Identifier: Apache-2.0
#include "policy/scheduler.hpp"

#include <cmath>
#include <string>

#include "base/failure.hpp"
#include "policy/aging_scheduler.hpp"
#include "policy/defrag_scheduler.hpp"
#include "policy/layer_schedulers.hpp"

namespace moebius::policy {
namespace {

void require(bool condition, const char* key, const std::string& value, const char* rule) {
  if (condition) return;
  throw Failure{ExitCode::bad_usage, std::string("schedule.") + key + " = " + value + " cannot be used (it must be " + rule +
                                         ") correct it in the job file or on the command line"};
}

std::unique_ptr<Scheduler> make_policy(const Job::Schedule& options) {
  switch (options.scheduler) {
    case SchedulerKind::defrag:
      require(std::isfinite(options.delta) && options.delta > 0.0, "delta", std::to_string(options.delta),
              "a number above 0");
      require(options.lookahead >= 0, "lookahead", std::to_string(options.lookahead), "0 or more");
      return std::make_unique<DefragScheduler>(options.delta, options.lookahead,
                                               options.lookback ? Lookback::on : Lookback::off);
    case SchedulerKind::mtfs: return std::make_unique<MtfsScheduler>();
    case SchedulerKind::flfs: return std::make_unique<FlfsScheduler>();
    case SchedulerKind::mbflfs:
      require(options.block_layers >= 1, "block_layers", std::to_string(options.block_layers), "1 or more");
      return std::make_unique<MbflfsScheduler>(options.block_layers);
  }
  throw Failure{ExitCode::bad_usage, "schedule.scheduler names no scheduler (the known ones are defrag, mtfs, flfs and "
                                     "mbflfs) choose one of them"};
}

}  // namespace

std::unique_ptr<Scheduler> make_scheduler(const Job::Schedule& options) {
  require(options.aging_ms >= 0.0, "aging_ms", std::to_string(options.aging_ms), "0 or more");
  return std::make_unique<AgingScheduler>(make_policy(options), options.aging_ms * 1e-3);
}

}  // namespace moebius::policy
