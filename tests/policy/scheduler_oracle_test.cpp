// SPDX-License-Identifier: Apache-2.0
// Every scheduler against the plainest possible reading of its definition, on random tables, and the
// promises of the interface: no allocation in pick, never an empty queue, nothing exactly when empty.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <deque>
#include <limits>
#include <new>
#include <random>

#include "policy/aging_scheduler.hpp"
#include "policy/defrag_scheduler.hpp"
#include "policy/layer_schedulers.hpp"

namespace {
std::size_t num_allocations = 0;
}

// Not inlined: the compiler would take memory of malloc for memory of its own new.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
  ++num_allocations;
  if (void* memory = std::malloc(bytes)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }

namespace moebius::policy {
namespace {

/// Random tables that fill and empty again, with few rows, so that ties are common.
class RandomTable {
 public:
  explicit RandomTable(std::uint64_t seed, const std::vector<int>& queues_per_stage)
      : random_(seed), queues_per_stage_(queues_per_stage), table(queues_per_stage) {}

  void change() {
    const int stage = below(static_cast<int>(queues_per_stage_.size()));
    if (queues_per_stage_[stage] == 0) return;
    const std::int64_t rows = below(3) == 0 ? below(6) : 0;
    table.set({stage, below(queues_per_stage_[stage])}, rows, below(8));
  }
  int below(int limit) { return static_cast<int>(random_() % static_cast<std::uint64_t>(limit)); }

 private:
  std::mt19937_64 random_;
  std::vector<int> queues_per_stage_;

 public:
  QueueTable table;
};

std::vector<int> random_shape(std::mt19937_64& random, int max_stages) {
  std::vector<int> shape(1 + random() % static_cast<std::uint64_t>(max_stages));
  for (int& queues : shape) queues = std::array{1, 1, 2, 4, 0}[random() % 5];
  return shape;
}

double load(const QueueTable& table, int stage) {
  double rows = 0.0;
  for (int q = 0; q < table.num_queues(stage); ++q) rows += static_cast<double>(table.rows({stage, q}));
  return table.num_queues(stage) == 0 ? 0.0 : rows / table.num_queues(stage);
}

double defrag_score(const QueueTable& table, QueueRef q, double delta, int lookahead) {
  double score = static_cast<double>(table.rows(q));
  for (int k = 1; k <= lookahead; ++k) {
    score += std::pow(delta, k) * load(table, (q.stage + k) % table.num_stages());
  }
  return score;
}

/// First queue, in reading order, with the largest key among those with rows.
template <class Key>
std::optional<QueueRef> argmax(const QueueTable& table, const Key& key) {
  std::optional<QueueRef> best;
  for (int s = 0; s < table.num_stages(); ++s) {
    for (int q = 0; q < table.num_queues(s); ++q) {
      if (table.rows({s, q}) > 0 && (!best || key(QueueRef{s, q}) > key(*best))) best = QueueRef{s, q};
    }
  }
  return best;
}

std::int64_t longest(const QueueTable& table, int stage) {
  std::int64_t rows = 0;
  for (int q = 0; q < table.num_queues(stage); ++q) rows = std::max(rows, table.rows({stage, q}));
  return rows;
}

std::optional<QueueRef> mbflfs_oracle(const QueueTable& table, int block) {
  const auto block_work = [&](int stage) {
    std::int64_t work = 0;
    for (int s = 0; s < table.num_stages(); ++s) work += s / block == stage / block ? longest(table, s) : 0;
    return work;
  };
  std::optional<QueueRef> best_block = argmax(table, [&](QueueRef q) { return block_work(q.stage); });
  if (!best_block) return std::nullopt;
  // argmax gives the first queue with rows of the block, so its stage is the lowest with work.
  return argmax(table, [&](QueueRef q) { return q.stage == best_block->stage ? table.rows(q) : -1; });
}

template <class Check>
void for_random_tables(const Check& check) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(::testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    RandomTable source(seed, random_shape(random, 9));
    for (int step = 0; step < 60; ++step) {
      source.change();
      check(source.table, step);
    }
  }
}

TEST(SchedulerOracle, defrag_picks_the_largest_score_and_breaks_ties_to_the_lowest) {
  for_random_tables([](const QueueTable& table, int step) {
    const int lookahead = step % 10;
    // With delta 1/2 and 1, 2 or 4 queues a stage all scores are exact, so ties are real ties.
    DefragScheduler defrag(0.5, lookahead, Lookback::off);
    EXPECT_EQ(defrag.pick(table, 0.0), argmax(table, [&](QueueRef q) { return defrag_score(table, q, 0.5, lookahead); }));
  });
}

TEST(SchedulerOracle, defrag_with_the_default_delta) {
  for_random_tables([](const QueueTable& table, int) {
    DefragScheduler defrag(0.8, 7, Lookback::off);
    const auto score = [&](QueueRef q) { return defrag_score(table, q, 0.8, 7); };
    const auto best = argmax(table, score);
    const auto pick = defrag.pick(table, 0.0);
    ASSERT_EQ(pick.has_value(), best.has_value());
    if (pick) {
      EXPECT_NEAR(score(*pick), score(*best), 1e-9);
    }
  });
}

TEST(SchedulerOracle, defrag_with_lookback) {
  DefragScheduler defrag(0.8, 4, Lookback::on);
  RandomTable source(11, {1, 2, 0, 4, 1, 3});
  const QueueTable& table = source.table;
  std::deque<std::vector<std::int64_t>> memory;  // rows of every stage at the last picks
  const auto score = [&](QueueRef q) {
    double sum = static_cast<double>(table.rows(q));
    for (int k = 1; k <= 4; ++k) {
      const int stage = (q.stage + k) % table.num_stages();
      if (table.num_queues(stage) == 0) continue;
      double mean = 0.0;
      for (const auto& rows : memory) mean += static_cast<double>(rows[stage]) / static_cast<double>(memory.size());
      sum += std::pow(0.8, k) * (load(table, stage) + mean / table.num_queues(stage));
    }
    return sum;
  };
  for (int step = 0; step < 1000; ++step) {
    source.change();
    const auto best = argmax(table, score);
    const auto pick = defrag.pick(table, 0.0);
    ASSERT_EQ(pick.has_value(), best.has_value());
    if (!pick) continue;  // an empty table is no pick to remember
    ASSERT_NEAR(score(*pick), score(*best), 1e-9) << step;
    memory.emplace_back();
    for (int stage = 0; stage < table.num_stages(); ++stage) memory.back().push_back(table.stage_rows(stage));
    if (memory.size() > DefragScheduler::lookback_picks) memory.pop_front();
  }
}

TEST(SchedulerOracle, mtfs_flfs_and_mbflfs) {
  for_random_tables([](const QueueTable& table, int step) {
    const auto mtfs = argmax(table, [&](QueueRef q) { return table.rows(q); });
    const auto flfs = argmax(table, [&](QueueRef q) { return table.rows(q) - 1000 * q.stage; });
    EXPECT_EQ(MtfsScheduler().pick(table, 0.0), mtfs);
    EXPECT_EQ(FlfsScheduler().pick(table, 0.0), flfs);
    EXPECT_EQ(MbflfsScheduler(1).pick(table, 0.0), mtfs);
    EXPECT_EQ(MbflfsScheduler(table.num_stages()).pick(table, 0.0), flfs);
    EXPECT_EQ(MbflfsScheduler(std::numeric_limits<int>::max()).pick(table, 0.0), flfs);
    const int block = 1 + step % 5;
    EXPECT_EQ(MbflfsScheduler(block).pick(table, 0.0), mbflfs_oracle(table, block));
  });
}

TEST(SchedulerOracle, aging_takes_the_oldest_queue_beyond_the_limit) {
  AgingScheduler aging(std::make_unique<MtfsScheduler>(), 3.0);
  for_random_tables([&](const QueueTable& table, int step) {
    const double now = step % 12;
    const auto oldest = argmax(table, [&](QueueRef q) { return -table.oldest_s(q); });
    const bool is_due = oldest && now - table.oldest_s(*oldest) > 3.0;
    EXPECT_EQ(aging.pick(table, now), is_due ? oldest : MtfsScheduler().pick(table, now));
  });
}

TEST(SchedulerOracle, never_an_empty_queue_and_nothing_exactly_when_all_are_empty) {
  for (const auto kind : {SchedulerKind::defrag, SchedulerKind::mtfs, SchedulerKind::flfs, SchedulerKind::mbflfs}) {
    const auto scheduler = make_scheduler({.scheduler = kind, .lookback = true, .block_layers = 3, .aging_ms = 4000.0});
    for_random_tables([&](const QueueTable& table, int step) {
      const auto pick = scheduler->pick(table, step % 12);
      ASSERT_EQ(pick.has_value(), table.total_rows() > 0);
      if (pick) {
        EXPECT_GT(table.rows(*pick), 0);
      }
    });
  }
}

TEST(SchedulerOracle, pick_does_not_allocate_after_the_first_one) {
  for (const auto kind : {SchedulerKind::defrag, SchedulerKind::mtfs, SchedulerKind::flfs, SchedulerKind::mbflfs}) {
    const auto scheduler = make_scheduler({.scheduler = kind, .lookback = true, .aging_ms = 4000.0});
    RandomTable source(7, std::vector<int>(200, 16));
    source.table.set({3, 3}, 1, 0.0);
    (void)scheduler->pick(source.table, 0.0);
    const std::size_t before = num_allocations;
    for (int step = 0; step < 500; ++step) {
      source.change();
      (void)scheduler->pick(source.table, 1.0);
    }
    EXPECT_EQ(num_allocations, before) << to_string(kind);
  }
}

}  // namespace
}  // namespace moebius::policy
