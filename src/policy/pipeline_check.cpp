// SPDX-License-Identifier: Apache-2.0
#include "policy/pipeline_check.hpp"

#include <algorithm>
#include <map>
#include <tuple>

namespace moebius::policy {
namespace {

std::string name_of(const ScheduledTask& task) {
  std::string name = std::string(to_string(task.kind)) + " of layer " + std::to_string(task.layer) + ", micro-batch " + std::to_string(task.micro_batch);
  if (task.kind != TaskKind::attention && task.kind != TaskKind::shared) {
    name += ", part " + std::to_string(task.part) + ", expert rank " + std::to_string(task.peer);
  }
  return name + ", attention rank " + std::to_string(task.source);
}

class Check {
 public:
  Check(std::span<const ScheduledTask> tasks, const ScheduleRules& rules) : rules_(rules) {
    for (const ScheduledTask& task : tasks) by_begin_.push_back(&task);
    std::ranges::stable_sort(by_begin_, {}, [](const ScheduledTask* task) { return std::pair(task->begin_s, task->end_s); });
  }

  std::vector<std::string> run() {
    for (const ScheduledTask* task : by_begin_) {
      if (task->end_s < task->begin_s) broken_.push_back(name_of(*task) + " ends before it begins");
    }
    check_exclusion();
    note_ends();
    for (const ScheduledTask* task : by_begin_) check_precedence(*task);
    if (rules_.order || rules_.order_of) check_order();
    return std::move(broken_);
  }

 private:
  using Key = std::tuple<TaskKind, int, int, int, int, int, int>;  // kind, source, layer, micro-batch, part, peer, call

  void check_exclusion() {
    std::map<std::pair<TaskKind, int>, const ScheduledTask*> last;
    for (const ScheduledTask* task : by_begin_) {
      if (task->end_s <= task->begin_s) continue;  // takes no time, so it holds nothing
      if (!rules_.links_hold_one && (task->kind == TaskKind::dispatch || task->kind == TaskKind::combine)) continue;
      const TaskKind resource = task->kind == TaskKind::shared ? TaskKind::attention : task->kind;
      const ScheduledTask*& before = last[{resource, resource == TaskKind::expert ? task->peer : task->source}];
      if (before != nullptr && is_same_work(*before, *task)) continue;
      if (before != nullptr && task->begin_s + rules_.tolerance_s < before->end_s) {
        broken_.push_back(name_of(*task) + " begins while " + name_of(*before) + " still runs");
      }
      if (before == nullptr || task->end_s > before->end_s) before = task;
    }
  }

  /// Experts that work for several sources at once.
  static bool is_same_work(const ScheduledTask& a, const ScheduledTask& b) {
    return a.kind == TaskKind::expert && a.source != b.source && a.begin_s == b.begin_s && a.end_s == b.end_s;
  }

  /// The last task of each kind, of a call, of a part, and of a whole micro-batch (-1 for what it has several of).
  void note_ends() {
    for (const ScheduledTask* task : by_begin_) {
      for (const Key& key : {Key{task->kind, task->source, task->layer, task->micro_batch, task->part, task->peer, task->call},
                             Key{task->kind, task->source, task->layer, task->micro_batch, task->part, task->peer, -1},
                             Key{task->kind, task->source, task->layer, task->micro_batch, -1, -1, -1}}) {
        const ScheduledTask*& last = last_[key];
        if (last == nullptr || task->end_s > last->end_s) last = task;
      }
    }
  }

  void check_precedence(const ScheduledTask& task) {
    const auto whole = [&](TaskKind kind, int layer) { return Key{kind, task.source, layer, task.micro_batch, -1, -1, -1}; };
    const auto same_part = [&](TaskKind kind, int call) { return Key{kind, task.source, task.layer, task.micro_batch, task.part, task.peer, call}; };
    switch (task.kind) {
      case TaskKind::attention:
        require_after(task, whole(TaskKind::shared, task.layer - 1));
        return require_after(task, whole(TaskKind::combine, task.layer - 1));
      case TaskKind::shared:
      case TaskKind::dispatch: return require_after(task, whole(TaskKind::attention, task.layer));
      case TaskKind::expert: return require_after(task, same_part(TaskKind::dispatch, -1));
      case TaskKind::combine: return require_after(task, same_part(TaskKind::expert, task.call));
    }
  }

  void require_after(const ScheduledTask& task, const Key& key) {
    const auto found = last_.find(key);
    if (found == last_.end() || task.begin_s + rules_.tolerance_s >= found->second->end_s) return;
    broken_.push_back(name_of(task) + " begins before the end of " + name_of(*found->second));
  }

  [[nodiscard]] PipelineOrder order_of(const ScheduledTask& task) const { return rules_.order_of ? rules_.order_of(task.source, task.layer) : *rules_.order; }

  void check_order() {
    // Where a task has to stand among those of its source: layer, then whether it is behind all A, then micro-batch, then S.
    const auto rank_of = [this](const ScheduledTask& task) {
      const bool shared = task.kind == TaskKind::shared;
      return std::tuple(task.layer, shared && order_of(task) == PipelineOrder::aass, task.micro_batch, shared);
    };
    std::map<int, const ScheduledTask*> last;
    for (const ScheduledTask* task : by_begin_) {
      if (task->kind != TaskKind::attention && task->kind != TaskKind::shared) continue;
      const ScheduledTask*& before = last[task->source];
      if (before != nullptr && rank_of(*task) < rank_of(*before)) broken_.push_back(name_of(*task) + " is out of order: it begins after " + name_of(*before));
      before = task;
    }
  }

  const ScheduleRules& rules_;
  std::vector<const ScheduledTask*> by_begin_;
  std::map<Key, const ScheduledTask*> last_;
  std::vector<std::string> broken_;
};

}  // namespace

std::vector<std::string> check_schedule(std::span<const ScheduledTask> tasks, const ScheduleRules& rules) { return Check(tasks, rules).run(); }

}  // namespace moebius::policy
