// SPDX-License-Identifier: Apache-2.0
#include "tests/support/timeline_tasks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <tuple>

namespace moebius {
namespace {

using policy::ScheduledTask;
using policy::TaskKind;

class Builder {
 public:
  Builder(const io::ResultsReader& results, RecordedSchedule& schedule) : schedule_(schedule) {
    for (const io::RankTiming& row : results.timing()) nodes_.insert(row.node);
    for (const io::RankWork& work : results.work()) left_out_ += work.intervals_left_out;
    for (const io::RankInterval& one : results.timeline()) add_interval(one.rank, one.interval);
    transfers_ = results.transfers();
  }

  void build() {
    if (left_out_ > 0) throw std::runtime_error(fmt::format("{} intervals and transfers were left out of the recording", left_out_));
    if (transfers_.empty() || tasks_of_attention_.empty()) throw std::runtime_error("no pipeline was recorded");
    for (const auto& [key, task] : tasks_of_attention_) schedule_.tasks.push_back(task);
    for (const io::RankTransfer& one : transfers_) add_transfer(one.rank, one.transfer);
    note_lost();
    for (const ScheduledTask& task : schedule_.tasks) schedule_.makespan_s = std::max(schedule_.makespan_s, task.end_s);
  }

 private:
  /// Of a layer within the run.
  [[nodiscard]] int layer_of(int layer, int micro_batch) const { return micro_batch / schedule_.r1 * (schedule_.num_layers + 1) + layer; }
  [[nodiscard]] int batch_of(int micro_batch) const { return micro_batch % schedule_.r1; }

  void add_interval(int rank, const Interval& interval) {
    if (interval.phase == Phase::expert) calls_[rank].push_back(interval);
    const bool shared = interval.phase == Phase::shared_experts, apart = shared && schedule_.order != PipelineOrder::fused;
    const bool attention = interval.phase == Phase::combine || interval.phase == Phase::attention || interval.phase == Phase::router || interval.phase == Phase::lm_head;
    if (interval.stage.micro_batch < 0 || !(attention || shared)) return;
    const TaskKind kind = apart ? TaskKind::shared : TaskKind::attention;
    const int layer = layer_of(interval.stage.layer, interval.stage.micro_batch), batch = batch_of(interval.stage.micro_batch);
    const auto [found, is_new] = tasks_of_attention_.try_emplace({kind, rank, layer, batch});
    ScheduledTask& task = found->second;
    if (is_new) task = {.kind = kind, .layer = layer, .micro_batch = batch, .source = rank, .begin_s = interval.begin_s};
    task.end_s = interval.end_s;
  }

  void add_transfer(int rank, const Transfer& transfer) {
    const bool outputs = transfer.call >= 0;
    if (transfer.micro_batch < 0 || transfer.part < 0) throw std::runtime_error("a message belongs to no token part");
    ScheduledTask task{.kind = outputs ? TaskKind::combine : TaskKind::dispatch,
                       .layer = layer_of(transfer.layer, transfer.micro_batch),
                       .micro_batch = batch_of(transfer.micro_batch),
                       .part = transfer.part,
                       .source = outputs ? rank : transfer.from,
                       .peer = outputs ? transfer.from : rank,
                       .begin_s = transfer.begin_s,
                       .end_s = transfer.end_s,
                       .call = outputs ? transfer.call : 0};
    std::int64_t& balance = pairs_[{task.source, task.layer, task.micro_batch, task.part, task.peer}];
    balance += outputs ? -transfer.pairs : transfer.pairs;
    schedule_.tasks.push_back(task);
    schedule_.on_links.push_back({.kind = TaskKind::dispatch, .source = transfer.from, .begin_s = transfer.begin_s, .end_s = transfer.begin_s + transfer.link_s});
    schedule_.on_links.push_back({.kind = TaskKind::combine, .source = rank, .begin_s = transfer.end_s - transfer.link_s, .end_s = transfer.end_s});
    if (outputs && added_calls_.insert({task.source, task.peer, transfer.call}).second) add_call(task);
  }

  /// What the outputs came from.
  void add_call(const ScheduledTask& outputs) {
    const std::vector<Interval>& calls = calls_[outputs.peer];
    if (static_cast<std::size_t>(outputs.call) >= calls.size()) throw std::runtime_error(fmt::format("rank {} recorded no expert call {}", outputs.peer, outputs.call));
    const Interval& interval = calls[static_cast<std::size_t>(outputs.call)];
    if (interval.stage.layer != outputs.layer % (schedule_.num_layers + 1)) {
      schedule_.lost.push_back(fmt::format("outputs of layer {} from an expert call of layer {}", outputs.layer % (schedule_.num_layers + 1), interval.stage.layer));
    }
    ScheduledTask task = outputs;
    task.kind = TaskKind::expert;
    task.begin_s = interval.begin_s;
    task.end_s = interval.end_s;
    schedule_.tasks.push_back(task);
  }

  void note_lost() {
    for (const auto& [key, balance] : pairs_) {
      if (balance == 0) continue;
      const auto& [source, layer, batch, part, peer] = key;
      schedule_.lost.push_back(fmt::format("attention rank {}, layer {}, micro-batch {}, part {}, expert rank {}: {} rows did not come back", source, layer,
                                           batch, part, peer, balance));
    }
  }

  RecordedSchedule& schedule_;
  std::set<std::string> nodes_;
  std::int64_t left_out_ = 0;
  std::vector<io::RankTransfer> transfers_;
  std::map<std::tuple<TaskKind, int, int, int>, ScheduledTask> tasks_of_attention_;  // kind, source, layer, micro-batch
  std::map<int, std::vector<Interval>> calls_;                                      // [rank]
  std::set<std::tuple<int, int, int>> added_calls_;                                 // source, peer, call
  std::map<std::tuple<int, int, int, int, int>, std::int64_t> pairs_;               // source, layer, micro-batch, part, peer
};

}  // namespace

RecordedSchedule recorded_schedule(const io::ResultsReader& results, PipelineOrder order, int r1, int num_layers) {
  RecordedSchedule schedule{.order = order, .r1 = r1, .num_layers = num_layers, .tasks = {}, .on_links = {}, .lost = {}};
  Builder(results, schedule).build();
  return schedule;
}

}  // namespace moebius
