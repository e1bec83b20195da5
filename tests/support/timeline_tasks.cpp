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
    const std::vector<io::RankInterval> timeline = results.timeline();
    if (schedule_.r1 == 0) find_mini_batches(timeline);
    for (const io::RankInterval& one : timeline) add_interval(one.rank, one.interval);
    transfers_ = results.transfers();
  }

  void build() {
    if (left_out_ > 0) throw std::runtime_error(fmt::format("{} intervals and transfers were left out of the recording", left_out_));
    if (transfers_.empty() || tasks_of_attention_.empty()) throw std::runtime_error("no pipeline was recorded");
    for (const auto& [key, task] : tasks_of_attention_) schedule_.tasks.push_back(task);
    for (const io::RankTransfer& one : transfers_) add_transfer(one.rank, one.transfer);
    note_lost();
    if (schedule_.r1 == 0) find_orders();
    for (const ScheduledTask& task : schedule_.tasks) schedule_.makespan_s = std::max(schedule_.makespan_s, task.end_s);
  }

 private:
  static bool is_attention(Phase phase) { return phase == Phase::combine || phase == Phase::attention || phase == Phase::router || phase == Phase::lm_head; }

  /// The number of the first micro-batch of each mini-batch of each rank. // timeline: by rank, then by time
  void find_mini_batches(const std::vector<io::RankInterval>& timeline) {
    std::map<int, int> last_layer, last_number;
    for (const io::RankInterval& one : timeline) {
      const auto& [layer, place, number] = one.interval.stage;
      if (number < 0 || !is_attention(one.interval.phase)) continue;
      std::vector<int>& firsts = first_numbers_[one.rank];
      if (layer == 0 && (firsts.empty() || last_layer[one.rank] > 0)) firsts.push_back(number);
      last_layer[one.rank] = layer;
      last_number[one.rank] = std::max(last_number[one.rank], number);
    }
    for (const auto& [rank, firsts] : first_numbers_) {
      if (!std::ranges::is_sorted(firsts, std::ranges::less_equal{})) throw std::runtime_error(fmt::format("mini-batches of rank {} do not follow each other", rank));
      for (std::size_t i = 0; i < firsts.size(); ++i) {
        schedule_.sizes[{rank, static_cast<int>(i)}] = (i + 1 < firsts.size() ? firsts[i + 1] : last_number[rank] + 1) - firsts[i];
      }
    }
  }

  /// Of each mini-batch, by the first layer in which the turns of the two orders differ.
  void find_orders() {
    const int layers = schedule_.num_layers + 1;
    for (const auto& [key, size] : schedule_.sizes) schedule_.orders[key] = PipelineOrder::asas;
    std::set<std::pair<int, int>> known;
    for (const auto& [key, shared] : tasks_of_attention_) {  // shared ones by source, layer, micro-batch
      const auto& [kind, source, layer, batch] = key;
      const std::pair mini_batch(source, layer / layers);
      if (kind != TaskKind::shared || known.contains(mini_batch)) continue;
      const auto later = tasks_of_attention_.upper_bound({TaskKind::attention, source, layer, batch});
      if (later == tasks_of_attention_.end() || std::get<0>(later->first) != TaskKind::attention || std::get<1>(later->first) != source || std::get<2>(later->first) != layer) continue;
      known.insert(mini_batch);
      if (later->second.begin_s < shared.begin_s) schedule_.orders[mini_batch] = PipelineOrder::aass;
    }
  }

  [[nodiscard]] int mini_batch_of(int source, int micro_batch) const {
    if (schedule_.r1 > 0) return micro_batch / schedule_.r1;
    const std::vector<int>& firsts = first_numbers_.at(source);
    return static_cast<int>(std::ranges::upper_bound(firsts, micro_batch) - firsts.begin()) - 1;
  }
  /// Of a layer within the run.
  [[nodiscard]] int layer_of(int source, int layer, int micro_batch) const { return mini_batch_of(source, micro_batch) * (schedule_.num_layers + 1) + layer; }
  [[nodiscard]] int batch_of(int source, int micro_batch) const {
    if (schedule_.r1 > 0) return micro_batch % schedule_.r1;
    return micro_batch - first_numbers_.at(source)[static_cast<std::size_t>(mini_batch_of(source, micro_batch))];
  }

  void add_interval(int rank, const Interval& interval) {
    if (interval.phase == Phase::expert) calls_[rank].push_back(interval);
    const bool shared = interval.phase == Phase::shared_experts, apart = shared && schedule_.order != PipelineOrder::fused;
    if (interval.stage.micro_batch < 0 || !(is_attention(interval.phase) || shared)) return;
    const TaskKind kind = apart ? TaskKind::shared : TaskKind::attention;
    const int layer = layer_of(rank, interval.stage.layer, interval.stage.micro_batch), batch = batch_of(rank, interval.stage.micro_batch);
    const auto [found, is_new] = tasks_of_attention_.try_emplace({kind, rank, layer, batch});
    ScheduledTask& task = found->second;
    if (is_new) task = {.kind = kind, .layer = layer, .micro_batch = batch, .source = rank, .begin_s = interval.begin_s};
    task.end_s = interval.end_s;
  }

  void add_transfer(int rank, const Transfer& transfer) {
    const bool outputs = transfer.call >= 0;
    const int source = outputs ? rank : transfer.from;
    if (transfer.micro_batch < 0 || transfer.part < 0) throw std::runtime_error("a message belongs to no token part");
    ScheduledTask task{.kind = outputs ? TaskKind::combine : TaskKind::dispatch,
                       .layer = layer_of(source, transfer.layer, transfer.micro_batch),
                       .micro_batch = batch_of(source, transfer.micro_batch),
                       .part = transfer.part,
                       .source = source,
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
  std::map<int, std::vector<int>> first_numbers_;                                   // [rank], of each mini-batch; where r1 is not known
  std::set<std::tuple<int, int, int>> added_calls_;                                 // source, peer, call
  std::map<std::tuple<int, int, int, int, int>, std::int64_t> pairs_;               // source, layer, micro-batch, part, peer
};

}  // namespace

RecordedSchedule recorded_schedule(const io::ResultsReader& results, PipelineOrder order, int r1, int num_layers) {
  RecordedSchedule schedule{.order = order, .r1 = r1, .num_layers = num_layers, .tasks = {}, .on_links = {}, .lost = {}, .orders = {}, .sizes = {}};
  Builder(results, schedule).build();
  return schedule;
}

}  // namespace moebius
