// SPDX-License-Identifier: Apache-2.0
#include "base/series.hpp"

#include <gtest/gtest.h>

namespace moebius {
namespace {

TEST(Series, IsBoundedAndSpreadOverTheWholeRunAndKeepsFirstAndLast) {
  for (const std::size_t most : {2U, 3U, 10U, 601U}) {
    Series series(0.5, most);
    const int num_steps = 20000;
    for (int step = 0; step <= num_steps; ++step) {
      const double now = 0.1 * step;
      if (series.due(now) || step == num_steps) series.add({.time_s = now, .tokens_fed = step});
      ASSERT_LE(series.points().size(), most);
    }
    const auto points = series.points();
    EXPECT_EQ(points.front().time_s, 0.0);
    EXPECT_EQ(points.back().tokens_fed, num_steps);
    double widest = 0;
    for (std::size_t i = 1; i < points.size(); ++i) {
      EXPECT_LT(points[i - 1].time_s, points[i].time_s);
      EXPECT_LT(points[i - 1].tokens_fed, points[i].tokens_fed);
      widest = std::max(widest, points[i].time_s - points[i - 1].time_s);
    }
    EXPECT_LE(widest, 2000.0 / (static_cast<double>(most) / 4) + 2000.0 / static_cast<double>(most)) << most;
    EXPECT_GE(points.size(), most / 2);
  }
}

TEST(Series, APointIsDueWhenThePeriodHasPassed) {
  Series series(0.5, 100);
  EXPECT_TRUE(series.due(0));
  series.add({.time_s = 1.0});
  EXPECT_FALSE(series.due(1.4));
  EXPECT_TRUE(series.due(1.5));
}

}  // namespace
}  // namespace moebius
