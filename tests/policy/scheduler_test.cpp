// SPDX-License-Identifier: Apache-2.0
// Golden vectors, worked out by hand; the sums stand beside them.
#include "policy/scheduler.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "policy/aging_scheduler.hpp"
#include "policy/defrag_scheduler.hpp"
#include "policy/layer_schedulers.hpp"

namespace moebius::policy {
namespace {

using Rows = std::vector<std::vector<std::int64_t>>;  // [stages][queues]

QueueTable table_of(const Rows& rows) {
  std::vector<int> queues_per_stage;
  for (const auto& stage : rows) queues_per_stage.push_back(static_cast<int>(stage.size()));
  QueueTable table(queues_per_stage);
  for (int s = 0; s < static_cast<int>(rows.size()); ++s) {
    for (int q = 0; q < static_cast<int>(rows[s].size()); ++q) table.set({s, q}, rows[s][q], 0.0);
  }
  return table;
}

QueueRef pick(Scheduler& scheduler, const Rows& rows) { return scheduler.pick(table_of(rows), 0.0).value_or(QueueRef{-1, -1}); }
QueueRef at(int stage, int queue) { return {stage, queue}; }

TEST(QueueTable, keeps_sums_and_the_list_of_non_empty_queues) {
  QueueTable table({2, 0, 3});
  EXPECT_EQ(table.num_stages(), 3);
  EXPECT_EQ(table.num_queues(1), 0);
  EXPECT_TRUE(table.non_empty().empty());
  table.set({0, 1}, 5, 1.0);
  table.set({2, 0}, 2, 2.0);
  table.set({2, 2}, 7, 3.0);
  EXPECT_EQ(table.stage_rows(0), 5);
  EXPECT_EQ(table.stage_rows(2), 9);
  EXPECT_EQ(table.total_rows(), 14);
  EXPECT_EQ(table.oldest_s({2, 2}), 3.0);
  table.set({0, 1}, 0, 4.0);
  table.set({2, 2}, 1, 4.0);
  EXPECT_EQ(table.total_rows(), 3);
  EXPECT_EQ(table.rows({2, 2}), 1);
  EXPECT_THAT(table.non_empty(), ::testing::UnorderedElementsAre(at(2, 0), at(2, 2)));
}

TEST(QueueTable, refuses_queues_that_do_not_exist) {
  QueueTable table({2, 0});
  EXPECT_THROW(table.set({0, 2}, 1, 0.0), ContractError);
  EXPECT_THROW(table.set({1, 0}, 1, 0.0), ContractError);
  EXPECT_THROW(table.set({2, 0}, 1, 0.0), ContractError);
  EXPECT_THROW(table.set({0, 0}, -1, 0.0), ContractError);
}

TEST(Mtfs, golden) {
  MtfsScheduler mtfs;
  EXPECT_EQ(pick(mtfs, {{3}, {9}, {4}}), at(1, 0));
  EXPECT_EQ(pick(mtfs, {{1, 4}, {2, 6, 6}, {6}}), at(1, 1));  // 6 three times: lowest stage, then lowest queue
  EXPECT_EQ(pick(mtfs, {{0}, {0}, {1}}), at(2, 0));
}

TEST(Flfs, golden) {
  FlfsScheduler flfs;
  EXPECT_EQ(pick(flfs, {{0}, {1}, {50}}), at(1, 0));
  EXPECT_EQ(pick(flfs, {{0, 0}, {2, 5, 5}, {50}}), at(1, 1));
}

TEST(Mbflfs, golden) {
  MbflfsScheduler two(2);
  EXPECT_EQ(pick(two, {{3}, {3}, {0}, {5}, {4}}), at(0, 0));  // 6, 5, 4
  EXPECT_EQ(pick(two, {{3}, {1}, {0}, {5}, {4}}), at(3, 0));  // 4, 5, 4; stage 2 has no work
  EXPECT_EQ(pick(two, {{2}, {2}, {1}, {3}, {4}}), at(0, 0));  // 4, 4, 4: the lowest block
  EXPECT_EQ(pick(two, {{5}, {0}, {2}, {3}, {6}}), at(4, 0));  // 5, 5, 6: the last block has one stage
  // The work of a stage is its longest queue: 4 + 4 beats 7 + 0 although 7 + 7 rows stand there.
  EXPECT_EQ(pick(two, {{4, 1}, {0, 4}, {7, 7}, {0, 0}}), at(0, 0));
}

TEST(Defrag, golden_looks_ahead) {
  DefragScheduler defrag(0.5, 2, Lookback::off);
  // (0) 4 + 0/2 + 6/4 = 5.5   (2) 6 + 1/2 + 4/4 = 7.5   (3) 1 + 4/2 + 0/4 = 3
  EXPECT_EQ(pick(defrag, {{4}, {0}, {6}, {1}}), at(2, 0));
  // (0) 3 + 4/2 + 0 = 5   (1) 4 + 0 + 0 = 4: the shorter queue first, to merge with the longer one
  EXPECT_EQ(pick(defrag, {{3}, {4}, {0}, {0}}), at(0, 0));
  // (1) 2 + 0/2 + 8/4 = 4   (3) 8 + 0 + 2/4 = 8.5: stage 3 looks at stages 0 and 1
  EXPECT_EQ(pick(defrag, {{0}, {2}, {0}, {8}}), at(3, 0));
  // (0) 4 + 4/2 + 4/4 = 7, the same for all: the lowest
  EXPECT_EQ(pick(defrag, {{4}, {4}, {4}}), at(0, 0));
}

TEST(Defrag, golden_divides_by_the_queues_of_the_stage) {
  DefragScheduler defrag(0.5, 1, Lookback::off);
  // (0,0) 2 + 8/2/2 = 4   (1,1) 8 + 2/2/2 = 8.5
  EXPECT_EQ(pick(defrag, {{2, 0}, {0, 8}}), at(1, 1));
  // (0,0) 5 + 12/4/2 = 6.5   (1,*) 3 + 6/1/2 = 6   (2,0) 6 + 5/1/2 = 8.5; undivided (0,0) would have 5 + 12/2 = 11
  EXPECT_EQ(pick(defrag, {{5}, {3, 3, 3, 3}, {6}}), at(2, 0));
  // (0,0) 7 + 12/4/2 = 8.5   (1,*) 3 + 4/2 = 5   (2,0) 4 + 0: a stage without queues adds nothing
  EXPECT_EQ(pick(defrag, {{7}, {3, 3, 3, 3}, {4}, {}}), at(0, 0));
}

TEST(Defrag, golden_lookahead_beyond_the_last_stage_goes_around_more_than_once) {
  DefragScheduler defrag(0.5, 3, Lookback::off);
  // (0) 4 + 5/2 + 4/4 + 5/8 = 8.125   (1) 5 + 4/2 + 5/4 + 4/8 = 8.75
  EXPECT_EQ(pick(defrag, {{4}, {5}}), at(1, 0));
}

TEST(Defrag, golden_lookback) {
  DefragScheduler back(0.5, 1, Lookback::on), plain(0.5, 1, Lookback::off);
  // First pick, nothing to look back at: (0) 1 + 1000/2 = 501   (1) 1000 + 0
  EXPECT_EQ(pick(back, {{1}, {1000}, {0}}), at(1, 0));
  // (0) 5 + (0 + 1000)/2 = 505   (2) 6 + (5 + 1)/2 = 9; without memory (0) 5   (2) 6 + 5/2 = 8.5
  EXPECT_EQ(pick(plain, {{5}, {0}, {6}}), at(2, 0));
  EXPECT_EQ(pick(back, {{5}, {0}, {6}}), at(0, 0));
  // Ten more picks push both out of the memory: (0) 5 + 0   (2) 6 + (5 + 1)/2 = 9
  for (int i = 0; i < DefragScheduler::lookback_picks; ++i) EXPECT_EQ(pick(back, {{1}, {0}, {0}}), at(0, 0));
  EXPECT_EQ(pick(back, {{5}, {0}, {6}}), at(2, 0));
}

TEST(Aging, the_oldest_row_beyond_the_limit_goes_first) {
  AgingScheduler aging(std::make_unique<MtfsScheduler>(), 0.1);
  QueueTable table({1, 2, 1});
  table.set({0, 0}, 9, 10.0);
  table.set({1, 1}, 1, 9.95);
  table.set({2, 0}, 2, 9.90);
  EXPECT_EQ(aging.pick(table, 10.0), at(0, 0)) << "0.1 s is not longer than the limit";
  EXPECT_EQ(aging.pick(table, 10.01), at(2, 0));
  table.set({2, 0}, 0, 0.0);
  EXPECT_EQ(aging.pick(table, 10.01), at(0, 0));
  EXPECT_EQ(aging.pick(table, 10.10), at(1, 1));
  table.set({1, 0}, 1, 9.95);
  EXPECT_EQ(aging.pick(table, 10.10), at(1, 0)) << "ties to the lowest queue";
}

TEST(MakeScheduler, every_kind_is_wrapped_by_aging) {
  for (const auto kind : {SchedulerKind::defrag, SchedulerKind::mtfs, SchedulerKind::flfs, SchedulerKind::mbflfs}) {
    const auto scheduler = make_scheduler({.scheduler = kind, .aging_ms = 100.0});
    QueueTable table({1, 1, 1});
    EXPECT_EQ(scheduler->pick(table, 0.0), std::nullopt);
    table.set({0, 0}, 50, 1.0);
    table.set({2, 0}, 1, 0.5);
    EXPECT_EQ(scheduler->pick(table, 0.55), at(0, 0)) << to_string(kind);
    EXPECT_EQ(scheduler->pick(table, 0.65), at(2, 0)) << to_string(kind);
  }
}

TEST(MakeScheduler, options_reach_the_policy) {
  const Rows rows = {{3}, {4}, {0}, {0}};  // see Defrag.golden_looks_ahead
  const auto far = make_scheduler({.scheduler = SchedulerKind::defrag, .delta = 0.5, .lookahead = 2});
  const auto near = make_scheduler({.scheduler = SchedulerKind::defrag, .delta = 0.5, .lookahead = 0});
  EXPECT_EQ(pick(*far, rows), at(0, 0));
  EXPECT_EQ(pick(*near, rows), at(1, 0));
  const Rows blocks = {{3}, {3}, {0}, {5}, {4}};  // see Mbflfs.golden
  EXPECT_EQ(pick(*make_scheduler({.scheduler = SchedulerKind::mbflfs, .block_layers = 2}), blocks), at(0, 0));
  EXPECT_EQ(pick(*make_scheduler({.scheduler = SchedulerKind::mbflfs, .block_layers = 1}), blocks), at(3, 0));
}

TEST(MakeScheduler, refuses_what_cannot_be_meant) {
  const auto refused = [](const Job::Schedule& options, const char* key) {
    try {
      make_scheduler(options);
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::bad_usage);
      EXPECT_THAT(failure.what(), ::testing::HasSubstr(key));
      return true;
    }
    return false;
  };
  EXPECT_TRUE(refused({.scheduler = SchedulerKind::defrag, .delta = 0.0}, "schedule.delta"));
  EXPECT_TRUE(refused({.scheduler = SchedulerKind::defrag, .delta = std::numeric_limits<double>::quiet_NaN()}, "schedule.delta"));
  EXPECT_TRUE(refused({.scheduler = SchedulerKind::defrag, .lookahead = -1}, "schedule.lookahead"));
  EXPECT_TRUE(refused({.scheduler = SchedulerKind::mbflfs, .block_layers = 0}, "schedule.block_layers"));
  EXPECT_TRUE(refused({.aging_ms = -1.0}, "schedule.aging_ms"));
}

}  // namespace
}  // namespace moebius::policy
