// SPDX-License-Identifier: Apache-2.0
#include "ranks/stop_plan.hpp"

#include <gtest/gtest.h>

#include <csignal>

#include "ranks/stop_signals.hpp"

namespace moebius::ranks {
namespace {

TEST(StopPlan, WithoutLimitsAndSignalsNothingStops) {
  const StopPlan plan({});
  EXPECT_TRUE(plan.may_claim(1e12));
  EXPECT_FALSE(plan.must_drop(1e12));
  EXPECT_FALSE(plan.was_told());
}

TEST(StopPlan, ARequestIsClaimedWhileTheLongestSoFarWouldBeFinishedInTime) {
  StopPlan plan({.end_s = 100, .margin_s = 10, .grace_s = 20});
  EXPECT_TRUE(plan.may_claim(89));  // nothing is known of requests yet
  plan.request_took(8);
  plan.request_took(2);
  EXPECT_TRUE(plan.may_claim(79.9));
  EXPECT_FALSE(plan.may_claim(80));
  EXPECT_FALSE(plan.must_drop(89.9));
  EXPECT_TRUE(plan.must_drop(90));
}

TEST(StopPlan, TheFirstSignalEndsClaimsAndStartsTheGrace) {
  StopPlan plan({.grace_s = 20});
  plan.hear(0, 5);
  EXPECT_TRUE(plan.may_claim(5));
  plan.hear(1, 10);
  plan.hear(1, 25);  // heard again: the grace is not longer for it
  EXPECT_FALSE(plan.may_claim(10));
  EXPECT_TRUE(plan.was_told());
  EXPECT_FALSE(plan.must_drop(29.9));
  EXPECT_TRUE(plan.must_drop(30));
}

TEST(StopPlan, TheSecondSignalDropsAtOnceAndAWalltimeThatIsNearerGoesFirst) {
  StopPlan plan({.grace_s = 20});
  plan.hear(1, 10);
  plan.hear(2, 12);
  EXPECT_TRUE(plan.must_drop(12));
  plan.hear(1, 13);
  EXPECT_TRUE(plan.must_drop(13));
  StopPlan near({.end_s = 16, .margin_s = 1, .grace_s = 20});
  near.hear(1, 10);
  EXPECT_FALSE(near.must_drop(14.9));
  EXPECT_TRUE(near.must_drop(15));
}

TEST(StopPlan, MarginsOfWalltimes) {
  EXPECT_EQ(stop_margin_s(4), 1);
  EXPECT_EQ(stop_margin_s(600), 30);
  EXPECT_EQ(stop_margin_s(86400), 60);
}

TEST(StopSignals, AreCountedUpToTwo) {
  watch_stop_signals();
  EXPECT_EQ(num_stop_signals(), 0);
  std::raise(SIGUSR1);
  EXPECT_EQ(num_stop_signals(), 1);
  std::raise(SIGTERM);
  std::raise(SIGTERM);
  EXPECT_EQ(num_stop_signals(), 2);
  watch_stop_signals();
  EXPECT_EQ(num_stop_signals(), 0);
  std::signal(SIGUSR1, SIG_DFL);
  std::signal(SIGTERM, SIG_DFL);
}

}  // namespace
}  // namespace moebius::ranks
