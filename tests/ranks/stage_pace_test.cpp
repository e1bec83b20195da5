// SPDX-License-Identifier: Apache-2.0
#include "ranks/stage_pace.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "ranks/fake_clock.hpp"

namespace moebius::ranks {
namespace {

/// One weight, a byte, a byte a second: an expert call of any rows is 1 s of a_e and 3 of weights.
policy::StageTimes some_times() {
  policy::ModelSizes sizes{.name = "", .config = {}, .weight_bytes = 1};
  sizes.config.hidden_size = sizes.config.moe_intermediate_size = 1;
  sizes.config.num_experts = 2;
  return {{.name = "", .flops = 1e300, .bytes_per_s = 1, .expert_overhead_s = 1}, sizes};
}

class StagePaceTest : public ::testing::Test {
 protected:
  FakeClock clock_;
  policy::StageTimes times_ = some_times();
};

TEST_F(StagePaceTest, AStageLastsAsLongAsItsModelTimesDilationAndSlowdown) {
  StagePace pace(times_, 10, 3, StagePace::ExpertStage::call);
  int waits = 0;
  pace.while_waiting([&] { ++waits; });
  fake_now_s = 5;
  pace.start();
  fake_now_s = 7;  // real work
  EXPECT_DOUBLE_EQ(pace.expert_call(5, 6), 120);
  EXPECT_NEAR(fake_now_s, 125, 1e-9);
  EXPECT_GT(waits, 1000);  // it does not sleep for long at a time
  pace.router(1);          // 2 weights; not slowed
  EXPECT_NEAR(fake_now_s, 145, 1e-9);
  EXPECT_EQ(pace.counters().stages, 2);
  EXPECT_EQ(pace.counters().late_stages, 0);
  EXPECT_DOUBLE_EQ(pace.counters().modelled_s, 140);
  EXPECT_DOUBLE_EQ(pace.counters().shortest_s, 20);
  EXPECT_DOUBLE_EQ(pace.elapsed_s(), 140);
}

TEST_F(StagePaceTest, WhatIsLateIsCountedAndCaughtUp) {
  StagePace pace(times_, 1, 1, StagePace::ExpertStage::call);
  pace.start();
  fake_now_s = 10;  // real work took 10 s, the model says 4
  (void)pace.expert_call(0, 1);
  EXPECT_EQ(fake_now_s, 10);
  (void)pace.expert_call(10, 1);  // 8: still late
  EXPECT_EQ(fake_now_s, 10);
  (void)pace.expert_call(10, 1);
  EXPECT_NEAR(fake_now_s, 12, 1e-9);
  EXPECT_EQ(pace.counters().late_stages, 2);
  EXPECT_DOUBLE_EQ(pace.counters().late_s, 8);
  EXPECT_DOUBLE_EQ(pace.counters().latest_s, 6);
}

TEST_F(StagePaceTest, ALayerOfCallsHasOneOverhead) {
  StagePace pace(times_, 2, 1.5, StagePace::ExpertStage::layer);
  pace.start();
  for (int call = 0; call < 3; ++call) EXPECT_DOUBLE_EQ(pace.expert_call(0, 1), 9);
  EXPECT_EQ(fake_now_s, 0);
  pace.expert_layer();
  EXPECT_NEAR(fake_now_s, 2 * 1.5 * (1 + 3 * 3), 1e-9);
  pace.expert_layer();  // without rows there is no stage
  EXPECT_EQ(pace.counters().stages, 1);
}

TEST_F(StagePaceTest, InRealTimeOnlyASlowedRankWaits) {
  StagePace plain;
  plain.start();
  plain.attention({.rows = 5});
  plain.router(5);
  plain.lm_head(5);
  fake_now_s = 3;
  EXPECT_EQ(plain.expert_call(1, 5), 2);
  EXPECT_EQ(fake_now_s, 3);
  EXPECT_EQ(plain.counters().stages, 0);
  StagePace slowed(4);
  slowed.while_waiting([] { fake_now_s += 0.25; });
  EXPECT_NEAR(slowed.expert_call(1, 5), 8, 0.25);
}

TEST_F(StagePaceTest, AnIdleRankSleepsNoLongerThanUntilTheNextMessage) {
  StagePace pace(times_, 1e-3, 1, StagePace::ExpertStage::call);  // a call lasts 4 ms, so it rests for 0.4 at a time
  pace.start();
  pace.rest();
  EXPECT_NEAR(fake_now_s, 0.4e-3, 1e-12);
  pace.expect_message(0.5e-3);
  pace.rest();
  EXPECT_NEAR(fake_now_s, 0.5e-3, 1e-12);
  pace.rest();  // it is there
  EXPECT_NEAR(fake_now_s, 0.5e-3, 1e-12);
}

TEST_F(StagePaceTest, ARankThatHasWaitedLongLooksLessOften) {
  StagePace pace(times_, 1e-3, 1, StagePace::ExpertStage::call);
  pace.start();
  fake_now_s = 50e-3;
  pace.rest();
  EXPECT_NEAR(fake_now_s, 51e-3, 1e-12) << "a fiftieth of its wait";
  fake_now_s = 10;
  pace.rest();
  EXPECT_NEAR(fake_now_s, 10.002, 1e-12) << "but MPI makes progress";
}

TEST_F(StagePaceTest, ALateRankHasNotWaitedLong) {
  StagePace pace(times_, 1e-3, 1, StagePace::ExpertStage::call);
  pace.start();
  fake_now_s = 10;
  pace.expert_call(0, 5);  // its real work took ten seconds
  pace.rest();
  EXPECT_NEAR(fake_now_s, 10 + 0.4e-3, 1e-9) << "or it would be later still";
}

}  // namespace
}  // namespace moebius::ranks
