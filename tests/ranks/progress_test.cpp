// SPDX-License-Identifier: Apache-2.0
#include "ranks/progress.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moebius::ranks {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
const ProgressNumbers half{.requests_done = 50, .num_requests = 100, .rows_failed = 2, .tokens = 3000, .queued_rows = 7, .imbalance = 1.25};

TEST(ProgressLine, BarShowsRequestsRateAndTimeLeft) {
  const std::string line = progress_line(ProgressKind::bar, half, 10.0);
  EXPECT_THAT(line, HasSubstr("[############............]"));
  EXPECT_THAT(line, HasSubstr("50/100"));
  EXPECT_THAT(line, HasSubstr("300 tokens/s"));
  EXPECT_THAT(line, HasSubstr("ETA 10 s"));
  EXPECT_THAT(line, HasSubstr("queued 7"));
  EXPECT_THAT(line, HasSubstr("imbalance 1.25"));
}

TEST(ProgressLine, JsonIsOneLineWithTheSameNumbers) {
  const std::string line = progress_line(ProgressKind::json, half, 10.0);
  EXPECT_THAT(line, HasSubstr("\"requests_done\":50"));
  EXPECT_THAT(line, HasSubstr("\"tokens_per_s\":300.0"));
  EXPECT_THAT(line, HasSubstr("\"eta_s\":10.0"));
  EXPECT_EQ(line.find('\n'), line.size() - 1);
}

TEST(ProgressLine, SlowMotionShowsTheRateOfTheDeviceAndSaysSo) {
  ProgressNumbers slow = half;
  slow.dilation = 20;
  EXPECT_THAT(progress_line(ProgressKind::bar, slow, 10.0), HasSubstr(" emulated 6000 tokens/s"));
  EXPECT_THAT(progress_line(ProgressKind::json, slow, 10.0), HasSubstr("\"emulated_tokens_per_s\":6000.0}"));
  EXPECT_THAT(progress_line(ProgressKind::bar, half, 10.0), Not(HasSubstr("emulated")));
  EXPECT_THAT(progress_line(ProgressKind::json, half, 10.0), Not(HasSubstr("emulated")));
}

TEST(ProgressLine, NothingDoneYetGivesNoNonsense) {
  const std::string line = progress_line(ProgressKind::json, {.num_requests = 100}, 0.0);
  EXPECT_THAT(line, HasSubstr("\"eta_s\":0.0"));
  EXPECT_THAT(line, HasSubstr("\"tokens_per_s\":0.0"));
}

}  // namespace
}  // namespace moebius::ranks
