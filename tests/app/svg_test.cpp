// SPDX-License-Identifier: Apache-2.0
#include "app/report/svg.hpp"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "app/report/colors.hpp"
#include "app/report/series_math.hpp"

namespace moebius::app {
namespace {

TEST(Svg, TicksAreRoundAndInside) {
  EXPECT_EQ(ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(ticks(0, 1, 2), (std::vector<double>{0, 0.5, 1}));
  EXPECT_EQ(ticks(-3, 3, 3), (std::vector<double>{-2, 0, 2}));
  for (const double size : {1e-6, 0.37, 12.0, 9.9e8}) {
    const std::vector<double> values = ticks(0, size, 5);
    EXPECT_GE(values.size(), 3U) << size;
    EXPECT_LE(values.size(), 8U) << size;
    EXPECT_LE(values.back(), size * 1.000001);
  }
}

TEST(Svg, NamesInDrawingsAreEscaped) {
  Svg svg(10, 10, "a<b");
  svg.text(0, 0, "<b>");
  svg.rect({0, 0, 1, 1}, "#000", "x & y");
  const std::string drawn = svg.take();
  EXPECT_NE(drawn.find("a&lt;b"), std::string::npos);
  EXPECT_NE(drawn.find("&lt;b&gt;"), std::string::npos);
  EXPECT_NE(drawn.find("x &amp; y"), std::string::npos);
}

int luma(const std::string& color) {
  const auto channel = [&](std::size_t at) { return std::stoi(color.substr(at, 2), nullptr, 16); };
  return 299 * channel(1) + 587 * channel(3) + 114 * channel(5);
}

TEST(Colors, TheRampDarkensEvenly) {
  int before = luma(ramp_color(0)) + 1;
  for (int i = 0; i <= 20; ++i) {
    const int now = luma(ramp_color(i / 20.0));
    EXPECT_LT(now, before) << i;
    before = now;
  }
  EXPECT_GT(luma(ramp_color(0)), 235000);
  EXPECT_LT(luma(ramp_color(1)), 60000);
  EXPECT_EQ(ramp_color(-1), ramp_color(0));
  EXPECT_EQ(ramp_color(7), ramp_color(1));
}

TEST(Colors, EveryPhaseHasAGroupAndEveryGroupAColourOfItsOwn) {
  std::set<std::string_view> colors;
  for (const PhaseGroup& group : phase_groups) colors.insert(group.color);
  EXPECT_EQ(colors.size(), num_phase_groups);
  std::set<std::size_t> groups;
  for (std::size_t i = 0; i < num_phases; ++i) groups.insert(group_of(static_cast<Phase>(i)));
  EXPECT_EQ(groups.size(), num_phase_groups);
  EXPECT_EQ(group_of(Phase::idle), idle_group);
}

TEST(SeriesMath, ValuesBetweenPointsAreInProportion) {
  const std::vector<SeriesPoint> points = {{.time_s = 1, .tokens_fed = 10}, {.time_s = 3, .tokens_fed = 20}, {.time_s = 4, .tokens_fed = 20}};
  const auto fed = [](const SeriesPoint& point) { return point.tokens_fed; };
  EXPECT_EQ(value_at(points, 0, fed), 10);
  EXPECT_EQ(value_at(points, 1, fed), 10);
  EXPECT_EQ(value_at(points, 2.5, fed), 17.5);
  EXPECT_EQ(value_at(points, 3.5, fed), 20);
  EXPECT_EQ(value_at(points, 9, fed), 20);
}

}  // namespace
}  // namespace moebius::app
