// SPDX-License-Identifier: Apache-2.0
#include "base/timeline.hpp"

#include <gtest/gtest.h>

#include "base/clock.hpp"
#include "base/timing.hpp"

namespace moebius {
namespace {

double fake_now = 0;

class TimelineTest : public ::testing::Test {
 protected:
  TimelineTest() {
    fake_now = 50;
    set_clock_source([] { return fake_now; });
  }
  ~TimelineTest() override { set_clock_source(nullptr); }
  /// `seconds` pass and are accounted.
  static void pass(PhaseClock& clock, double seconds, Phase phase, std::int64_t rows = 0) {
    fake_now += seconds;
    clock.mark(phase, rows);
  }
};

TEST_F(TimelineTest, HasWhatTheClockHasWithoutGapsOrOverlapAndWithItsPlaceInTheModel) {
  PhaseClock clock;
  pass(clock, 1, Phase::load);
  Timeline timeline(50.5, 100);
  clock.record_in(&timeline);
  {
    const InStage here(clock, {.layer = 3, .place = 7});
    pass(clock, 2, Phase::expert, 5);
    pass(clock, 0.25, Phase::dispatch, 4);
  }
  pass(clock, 1, Phase::admit);
  clock.record_in(nullptr);
  pass(clock, 1, Phase::io);
  const auto intervals = timeline.intervals();
  ASSERT_EQ(intervals.size(), 3U);
  EXPECT_EQ(intervals[0].phase, Phase::expert);
  EXPECT_EQ(intervals[0].rows, 5);
  EXPECT_EQ(intervals[0].stage, (Stage{3, 7}));
  EXPECT_EQ(intervals[1].stage, (Stage{3, 7}));
  EXPECT_EQ(intervals[2].stage, Stage());
  EXPECT_DOUBLE_EQ(intervals[0].begin_s, 0.5);
  EXPECT_DOUBLE_EQ(intervals[2].end_s, 3.75);
  for (std::size_t i = 1; i < intervals.size(); ++i) EXPECT_EQ(intervals[i].begin_s, intervals[i - 1].end_s);
  EXPECT_EQ(timeline.num_left_out(), 0);
}

TEST_F(TimelineTest, NeighboursThatWaitInTheSameWayAreOne) {
  PhaseClock clock;
  Timeline timeline(50, 100);
  clock.record_in(&timeline);
  for (int i = 0; i < 1000; ++i) pass(clock, 0.5, Phase::idle);
  for (int i = 0; i < 10; ++i) pass(clock, 0.5, Phase::dispatch_wait);
  pass(clock, 1, Phase::idle);
  pass(clock, 1, Phase::expert, 1);
  pass(clock, 1, Phase::expert, 1);
  ASSERT_EQ(timeline.intervals().size(), 5U);
  EXPECT_DOUBLE_EQ(timeline.intervals()[0].end_s, 500);
  EXPECT_DOUBLE_EQ(timeline.intervals()[1].end_s, 505);
}

TEST_F(TimelineTest, WhatDoesNotFitIsCountedAndWhatIsThereStaysExact) {
  PhaseClock clock;
  Timeline timeline(50, 3);
  clock.record_in(&timeline);
  for (int i = 0; i < 5; ++i) {
    pass(clock, 1, Phase::expert, i);
    pass(clock, 1, Phase::idle);
  }
  ASSERT_EQ(timeline.intervals().size(), 3U);
  EXPECT_EQ(timeline.num_left_out(), 7);
  EXPECT_DOUBLE_EQ(timeline.intervals()[2].end_s, 3);
  EXPECT_EQ(timeline.intervals()[2].rows, 1);
}

TEST_F(TimelineTest, AnotherTimeThanTheClocksIsRecordedAndCountedWhileItIsGoneBy) {
  PhaseClock clock;
  pass(clock, 4, Phase::expert);
  Timeline timeline(100, 10);
  double time = 101;
  clock.go_by([&] { return time; });
  clock.record_in(&timeline);
  time = 103;
  pass(clock, 0.5, Phase::expert, 1);
  pass(clock, 0.5, Phase::dispatch);
  ASSERT_EQ(timeline.intervals().size(), 2U);
  EXPECT_DOUBLE_EQ(timeline.intervals()[0].begin_s, 1);
  EXPECT_DOUBLE_EQ(timeline.intervals()[0].end_s, 3);
  EXPECT_DOUBLE_EQ(timeline.intervals()[1].end_s, 3);
  EXPECT_DOUBLE_EQ(clock.total(Phase::expert).seconds, 4 + 2);
  EXPECT_DOUBLE_EQ(clock.total(Phase::dispatch).seconds, 0);
  EXPECT_DOUBLE_EQ(clock.last_mark_s(), fake_now);
  clock.go_by({});
  pass(clock, 0.5, Phase::dispatch);
  EXPECT_DOUBLE_EQ(clock.total(Phase::dispatch).seconds, 0.5);
}

TEST_F(TimelineTest, TransfersHaveRoomForHalfAsManyAndCountTheRest) {
  Timeline timeline(50, 4);
  for (int i = 0; i < 3; ++i) timeline.add(Transfer{.begin_s = 51.0 + i, .end_s = 52.5 + i, .link_s = 1, .pairs = i, .from = 2});
  ASSERT_EQ(timeline.transfers().size(), 2U);
  EXPECT_EQ(timeline.transfers()[1], (Transfer{.begin_s = 2, .end_s = 3.5, .link_s = 1, .pairs = 1, .from = 2}));
  EXPECT_EQ(timeline.num_left_out(), 1);
}

// An idle interval behind others that were left out does not lengthen the last one that was recorded.
TEST_F(TimelineTest, AFullTimelineThatEndsInWaitingDoesNotGrow) {
  PhaseClock clock;
  Timeline timeline(50, 1);
  clock.record_in(&timeline);
  pass(clock, 1, Phase::idle);
  pass(clock, 1, Phase::expert);
  pass(clock, 1, Phase::idle);
  ASSERT_EQ(timeline.intervals().size(), 1U);
  EXPECT_DOUBLE_EQ(timeline.intervals()[0].end_s, 1);
  EXPECT_EQ(timeline.num_left_out(), 2);
}

}  // namespace
}  // namespace moebius
