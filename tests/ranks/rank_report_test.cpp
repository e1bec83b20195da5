// SPDX-License-Identifier: Apache-2.0
#include "ranks/rank_report.hpp"

#include <gtest/gtest.h>

#include "base/check.hpp"

namespace moebius::ranks {
namespace {

RankReport example() {
  RankReport report{.rank = 3, .role = "expert", .node = "n7", .loop_s = 1.5, .peak_rss_bytes = 1 << 20,
                    .memory = {{"kv_cache", 12}, {"", 0}}, .experts = {.rows_received = 5, .calls = 2}, .load = {{1, 2}, {}, {3}},
                    .trace = {64, 1, 1, 2, {3, 4}}};
  report.phases[4] = {.seconds = 0.25, .calls = 9, .rows = 8, .bytes = 7};
  return report;
}

TEST(RankReport, SurvivesTheTrip) {
  const RankReport report = report_from_bytes(to_bytes(example()));
  EXPECT_EQ(report.rank, 3);
  EXPECT_EQ(report.role, "expert");
  EXPECT_EQ(report.node, "n7");
  EXPECT_EQ(report.memory, example().memory);
  EXPECT_EQ(report.load, example().load);
  EXPECT_EQ(report.trace, example().trace);
  EXPECT_EQ(report.phases[4].rows, 8);
  EXPECT_EQ(report.experts.calls, 2);
  EXPECT_EQ(to_bytes(report), to_bytes(example()));
}

TEST(RankReport, EveryTruncationIsNoticed) {
  const std::vector<std::byte> bytes = to_bytes(example());
  for (std::size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_THROW((void)report_from_bytes(std::span(bytes).first(length)), ContractError) << length;
  }
}

TEST(PeakRss, IsAtLeastWhatThisTestTouches) {
  const std::vector<char> touched(32 << 20, 1);
  EXPECT_GT(peak_rss_bytes(), static_cast<std::int64_t>(touched.size()));
}

}  // namespace
}  // namespace moebius::ranks
