// SPDX-License-Identifier: Apache-2.0
// Checks the recorded timeline of a run with schedule.execution = pipeline against every rule of its schedule.
//   timeline_check RESULTS ORDER R1 [EDIT]
// ORDER and R1 are those that the run should have kept; "auto" and 0: what each mini-batch has first, it keeps. EDIT breaks the recording first, to prove that the check sees it: moves one
// task of a kind (attention, shared, dispatch, expert, combine) to the begin of what it needs, "overlap" makes two expert calls
// run at a time, "order" swaps two attention tasks, "link" lets two messages leave at a time (slow motion).
// Prints what is broken, and how many tasks of each kind there were; exit code 1 when something is broken, 2 when nothing can be said.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <exception>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <utility>

#include "base/failure.hpp"
#include "policy/pipeline_check.hpp"
#include "tests/support/timeline_tasks.hpp"

namespace {

using namespace moebius;
using policy::ScheduledTask;
using policy::TaskKind;

constexpr std::size_t most_shown = 10;

/// Times since the loop began are differences of two that count for days.
constexpr double tolerance_s = 1e-9;

PipelineOrder order_named(const std::string& name) {
  if (name == "auto") return PipelineOrder::asas;  // the solver takes shared experts apart
  for (const PipelineOrder order : {PipelineOrder::asas, PipelineOrder::aass, PipelineOrder::fused}) {
    if (name == to_string(order)) return order;
  }
  throw std::runtime_error("there is no order " + name);
}

ScheduledTask& last_of(std::vector<ScheduledTask>& tasks, const std::string& kind) {
  const auto found = std::find_if(tasks.rbegin(), tasks.rend(), [&](const ScheduledTask& task) { return kind == to_string(task.kind) || (kind == "shared" && task.kind == TaskKind::shared) || (kind == "expert" && task.kind == TaskKind::expert); });
  if (found == tasks.rend()) throw std::runtime_error("nothing to edit of kind " + kind);
  return *found;
}

void edit(RecordedSchedule& schedule, const std::string& what) {
  const double whole_s = schedule.makespan_s;
  if (what == "overlap") {
    std::vector<ScheduledTask*> calls;
    for (ScheduledTask& task : schedule.tasks) {
      if (task.kind == TaskKind::expert && task.peer == last_of(schedule.tasks, "expert").peer) calls.push_back(&task);
    }
    std::ranges::stable_sort(calls, {}, [](const ScheduledTask* task) { return task->begin_s; });
    calls.front()->end_s = calls.back()->begin_s + 0.5 * (calls.back()->end_s - calls.back()->begin_s);
    return;
  }
  if (what == "order") {
    std::vector<ScheduledTask*> stages;
    for (ScheduledTask& task : schedule.tasks) {
      if (task.kind == TaskKind::attention && task.source == 0) stages.push_back(&task);
    }
    std::ranges::stable_sort(stages, {}, [](const ScheduledTask* task) { return task->begin_s; });
    std::swap(stages.front()->begin_s, stages[1]->begin_s);
    std::swap(stages.front()->end_s, stages[1]->end_s);
    return;
  }
  if (what == "link") {
    ScheduledTask& message = last_of(schedule.on_links, "dispatch");
    message.begin_s -= 1.5 * whole_s;
    return;
  }
  last_of(schedule.tasks, what).begin_s -= whole_s;
}

int check(const std::string& folder, const std::string& order, int r1, const std::string& change) {
  const io::ResultsReader results(folder);
  RecordedSchedule schedule = recorded_schedule(results, order_named(order), r1, results.expert_load().num_layers);
  if (!change.empty()) edit(schedule, change);
  std::vector<std::string> broken = schedule.lost;
  const auto add = [&](std::vector<std::string> more) { broken.insert(broken.end(), more.begin(), more.end()); };
  policy::ScheduleRules rules{.tolerance_s = tolerance_s, .order = schedule.order, .links_hold_one = false};
  if (r1 == 0) rules.order_of = [&](int source, int layer) { return schedule.orders.at({source, layer / (schedule.num_layers + 1)}); };
  add(policy::check_schedule(schedule.tasks, rules));
  add(policy::check_schedule(schedule.on_links, {.tolerance_s = tolerance_s, .order = {}}));
  std::map<std::string, int> counts;
  for (const ScheduledTask& task : schedule.tasks) ++counts[to_string(task.kind)];
  for (std::size_t i = 0; i < std::min(most_shown, broken.size()); ++i) fmt::print("{}\n", broken[i]);
  fmt::print("{} broken;", broken.size());
  for (const auto& [kind, count] : counts) fmt::print(" {} {},", count, kind);
  std::set<std::pair<int, PipelineOrder>> cuts;
  for (const auto& [mini_batch, size] : schedule.sizes) {
    const bool is_last = !schedule.sizes.contains({mini_batch.first, mini_batch.second + 1});  // may have fewer micro-batches than its r1
    if (!is_last) cuts.emplace(size, schedule.orders.at(mini_batch));
  }
  if (!cuts.empty()) fmt::print(" {} mini-batches cut in {} ways,", schedule.sizes.size(), cuts.size());
  fmt::print(" makespan {:.4g} s\n", schedule.makespan_s);
  return broken.empty() ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 4) return 2;
  try {
    return check(argv[1], argv[2], std::atoi(argv[3]), argc > 4 ? argv[4] : "");
  } catch (const std::exception& error) {
    fmt::print("timeline_check: {}\n", error.what());
    return 2;
  }
}
