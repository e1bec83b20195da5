// SPDX-License-Identifier: Apache-2.0
#include "policy/queue_simulation.hpp"

#include <algorithm>
#include <deque>
#include <memory>
#include <optional>
#include <queue>
#include <random>

#include "policy/placement.hpp"

namespace moebius::policy::testing {
namespace {

struct WaitingRow {
  std::int64_t token;
  double arrived_s;
};

struct Token {
  int layer = 0;
  int num_missing = 0;  // expert outputs not back yet
};

/// row: a row arrives in queue `to` of a rank; output: an expert output comes home; done: the running
/// rows of a rank are computed.
struct Event {
  enum class Kind { row, output, done } kind;
  double time_s;
  std::int64_t order;  // ties in time: first planned, first served
  int rank;
  QueueRef to;
  std::int64_t token;
  bool operator>(const Event& other) const {
    return time_s != other.time_s ? time_s > other.time_s : order > other.order;
  }
};

struct Rank {
  Rank(const std::vector<int>& queues_per_stage, const Job::Schedule& schedule)
      : table(queues_per_stage), scheduler(make_scheduler(schedule)) {
    for (const int queues : queues_per_stage) waiting.emplace_back(static_cast<std::size_t>(queues));
  }
  QueueTable table;
  std::unique_ptr<Scheduler> scheduler;
  std::vector<std::vector<std::deque<WaitingRow>>> waiting;  // [stages][queues]
  std::vector<WaitingRow> running;
  int running_stage = 0;
  RankCounts counts;
};

class Simulation {
 public:
  explicit Simulation(const SimulationOptions& options)
      : options_(options), random_(options.seed), tokens_(static_cast<std::size_t>(options.num_tokens)) {
    std::vector<RankId> expert_ranks;
    for (int r = 0; r < options.num_expert_ranks; ++r) expert_ranks.emplace_back(options.num_attention_ranks + r);
    placement_ = std::make_unique<LinearPlacement>(
        std::vector<int>(static_cast<std::size_t>(options.num_layers), options.num_experts), expert_ranks);
    const std::vector<int> attention_queues(static_cast<std::size_t>(options.num_layers) + 1, 1);
    for (int r = 0; r < options.num_attention_ranks; ++r) ranks_.emplace_back(attention_queues, options.schedule);
    for (const RankId rank : expert_ranks) {
      std::vector<int> queues(static_cast<std::size_t>(options.num_layers), 0);
      for (const HostedExpert& hosted : placement_->hosted(rank)) ++queues[hosted.layer.idx()];
      ranks_.emplace_back(queues, options.schedule);
    }
  }

  SimulationResult run() {
    for (std::int64_t token = 0; token < options_.num_tokens; ++token) {
      plan({Event::Kind::row, static_cast<double>(token) * options_.arrival_gap_s, 0, home(token), {0, 0}, token});
    }
    double now = 0.0;
    while (!events_.empty() && events_.top().time_s <= options_.end_s) {
      const Event event = events_.top();
      events_.pop();
      now = event.time_s;
      handle(event);
      start(event.rank, now);
      check(ranks_[event.rank]);
    }
    for (Rank& rank : ranks_) {
      for (const auto& stage : rank.waiting) {
        for (const auto& queue : stage) {
          if (!queue.empty()) note_wait(now - queue.front().arrived_s);
        }
      }
      result_.ranks.push_back(rank.counts);
    }
    return result_;
  }

 private:
  [[nodiscard]] int home(std::int64_t token) const { return static_cast<int>(token % options_.num_attention_ranks); }
  void note_wait(double wait_s) { result_.longest_wait_s = std::max(result_.longest_wait_s, wait_s); }

  void plan(Event event) {
    event.order = num_planned_++;
    events_.push(event);
  }

  void handle(const Event& event) {
    if (event.kind == Event::Kind::done) {
      finish(event.rank, event.time_s);
      return;
    }
    QueueRef to = event.to;
    if (event.kind == Event::Kind::output) {
      Token& token = tokens_[event.token];
      if (--token.num_missing > 0) return;
      to = {++token.layer, 0};
    }
    Rank& rank = ranks_[event.rank];
    auto& queue = rank.waiting[to.stage][to.queue];
    queue.push_back({event.token, event.time_s});
    rank.table.set(to, static_cast<std::int64_t>(queue.size()), queue.front().arrived_s);
    ++rank.counts.received;
    ++rank.counts.queued;
  }

  /// An idle rank asks its scheduler and drains the queue up to the cap.
  void start(int rank_idx, double now) {
    Rank& rank = ranks_[rank_idx];
    if (!rank.running.empty()) return;
    const std::optional<QueueRef> pick = rank.scheduler->pick(rank.table, now);
    if (pick.has_value() != (rank.counts.queued > 0)) ++result_.num_violations;
    if (!pick) return;
    auto& queue = rank.waiting[pick->stage][pick->queue];
    if (queue.empty()) ++result_.num_violations;
    while (!queue.empty() && static_cast<std::int64_t>(rank.running.size()) < options_.max_rows_per_run) {
      note_wait(now - queue.front().arrived_s);
      rank.running.push_back(queue.front());
      queue.pop_front();
    }
    rank.running_stage = pick->stage;
    rank.table.set(*pick, static_cast<std::int64_t>(queue.size()), queue.empty() ? now : queue.front().arrived_s);
    const auto num_rows = static_cast<std::int64_t>(rank.running.size());
    rank.counts.queued -= num_rows;
    rank.counts.running += num_rows;
    ++result_.num_runs;
    plan({Event::Kind::done, now + options_.call_s + options_.row_s * static_cast<double>(num_rows), 0, rank_idx, {}, 0});
  }

  void finish(int rank_idx, double now) {
    Rank& rank = ranks_[rank_idx];
    const bool is_attention = rank_idx < options_.num_attention_ranks;
    for (const WaitingRow& row : rank.running) {
      if (!is_attention) {
        plan({Event::Kind::output, now + options_.link_s, 0, home(row.token), {}, row.token});
      } else if (rank.running_stage == options_.num_layers) {
        ++result_.num_finished;
      } else {
        dispatch(row.token, rank.running_stage, now);
      }
    }
    const auto num_rows = static_cast<std::int64_t>(rank.running.size());
    rank.counts.running -= num_rows;
    rank.counts.sent += num_rows;
    rank.running.clear();
  }

  void dispatch(std::int64_t token, int layer, double now) {
    std::vector<int> experts;
    while (static_cast<int>(experts.size()) < options_.top_k) {
      const int expert = static_cast<int>(random_() % static_cast<std::uint64_t>(options_.num_experts));
      if (std::find(experts.begin(), experts.end(), expert) == experts.end()) experts.push_back(expert);
    }
    tokens_[token].num_missing = options_.top_k;
    for (const int expert : experts) {
      const PhysicalExpert host = placement_->host(LayerId(layer), ExpertId(expert));
      plan({Event::Kind::row, now + options_.link_s, 0, host.rank.value, {layer, host.place.value}, token});
    }
  }

  void check(const Rank& rank) {
    const RankCounts& counts = rank.counts;
    std::int64_t in_queues = 0;
    for (const auto& stage : rank.waiting) {
      for (const auto& queue : stage) in_queues += static_cast<std::int64_t>(queue.size());
    }
    const bool holds = counts.received == counts.queued + counts.running + counts.sent && in_queues == counts.queued &&
                       rank.table.total_rows() == in_queues &&
                       counts.running == static_cast<std::int64_t>(rank.running.size());
    if (!holds) ++result_.num_violations;
  }

  SimulationOptions options_;
  std::mt19937_64 random_;
  std::unique_ptr<LinearPlacement> placement_;
  std::vector<Rank> ranks_;
  std::vector<Token> tokens_;
  std::priority_queue<Event, std::vector<Event>, std::greater<>> events_;
  std::int64_t num_planned_ = 0;
  SimulationResult result_;
};

}  // namespace

SimulationResult simulate(const SimulationOptions& options) { return Simulation(options).run(); }

}  // namespace moebius::policy::testing
