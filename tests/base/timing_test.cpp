// SPDX-License-Identifier: Apache-2.0
#include "base/timing.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "base/clock.hpp"

namespace moebius {
namespace {

double fake_now = 100.0;

class FakeClock : public ::testing::Test {
 protected:
  FakeClock() { set_clock_source([] { return fake_now; }); }
  ~FakeClock() override { set_clock_source(nullptr); }
};

TEST_F(FakeClock, PhasesShareTheTimeWithoutGapsOrOverlap) {
  PhaseClock clock;
  fake_now += 2.0;
  clock.mark(Phase::attention, 5, 7);
  fake_now += 3.0;
  clock.mark(Phase::idle);
  fake_now += 0.5;
  clock.mark(Phase::attention, 1);
  EXPECT_DOUBLE_EQ(clock.total(Phase::attention).seconds, 2.5);
  EXPECT_EQ(clock.total(Phase::attention).calls, 2);
  EXPECT_EQ(clock.total(Phase::attention).rows, 6);
  EXPECT_EQ(clock.total(Phase::attention).bytes, 7);
  double sum = 0;
  for (std::size_t i = 0; i < num_phases; ++i) sum += clock.total(static_cast<Phase>(i)).seconds;
  EXPECT_DOUBLE_EQ(sum, 5.5);
}

TEST(Phase, EveryPhaseHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < num_phases; ++i) names.insert(to_string(static_cast<Phase>(i)));
  EXPECT_EQ(names.size(), num_phases);
}

TEST(Clock, SteadyClockMovesForward) {
  const double before = now_s();
  EXPECT_GE(now_s(), before);
}

}  // namespace
}  // namespace moebius
