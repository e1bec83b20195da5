// SPDX-License-Identifier: Apache-2.0
#include "ranks/emulation.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace moebius::ranks {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Job slow_job() {
  Job job;
  job.emulation.device = EmulatedDevice::h100;
  job.emulation.dilation = 50;
  return job;
}

EmulatedRank rank_of(double processor_s, double loop_s, double elapsed_s, double shortest_s) {
  return {.processor_s = processor_s, .loop_s = loop_s, .elapsed_s = elapsed_s,
          .pace = {.stages = 1, .shortest_s = shortest_s, .messages = 100, .missed_messages = 1}};
}

TEST(Emulation, RatesAreThoseOfTheDevice) {
  const auto summary = summarise_emulation(slow_job(), {rank_of(1, 10, 9.9, 1e-3), rank_of(2, 8, 7, 5e-4)}, 2, 1000);
  EXPECT_DOUBLE_EQ(summary.seconds, 0.2);
  EXPECT_DOUBLE_EQ(summary.tokens_per_s, 5000);
  Job long_texts = slow_job();
  long_texts.emulation.tokens_per_row = 8;  // 1000 rows
  EXPECT_DOUBLE_EQ(summarise_emulation(long_texts, {rank_of(1, 10, 9.9, 1e-3)}, 2, 1000).tokens_per_s, 40000);
  EXPECT_DOUBLE_EQ(summary.compute_share, 0.2);  // the busiest rank: 2 s of 10
  EXPECT_NEAR(summary.slip, 0.01, 1e-12);
  EXPECT_DOUBLE_EQ(summary.missed_share, 0.01);
  EXPECT_DOUBLE_EQ(summary.shortest_s, 5e-4);
  EXPECT_EQ(validity(summary), "yes");
  EXPECT_THAT(describe(summary, "a device"), HasSubstr("emulated: 0.2 s of the device, 5000 tokens/s"));
}

TEST(Emulation, ManyRanksOnFewCoresCountTogether) {
  const std::vector<EmulatedRank> ranks(8, rank_of(1, 10, 10, 1e-3));
  EXPECT_DOUBLE_EQ(summarise_emulation(slow_job(), ranks, 2, 1).compute_share, 0.4);
}

TEST(Emulation, ARunThatComputedOrSlippedTooMuchDoesNotCount) {
  EXPECT_THAT(validity(summarise_emulation(slow_job(), {rank_of(3.1, 10, 10, 1e-3)}, 2, 1)), StartsWith("no (real computation took 31 %"));
  EXPECT_TRUE(summarise_emulation(slow_job(), {rank_of(2.9, 10, 9.6, 1e-3)}, 2, 1).valid());
  EXPECT_FALSE(summarise_emulation(slow_job(), {rank_of(2.9, 10, 9.4, 1e-3)}, 2, 1).valid());
  EmulatedRank late = rank_of(1, 10, 10, 1e-3);
  late.pace.missed_messages = 6;
  EXPECT_FALSE(summarise_emulation(slow_job(), {late}, 2, 1).valid());
}

TEST(Emulation, ShortStagesAreNamed) {
  EXPECT_THAT(describe(summarise_emulation(slow_job(), {rank_of(1, 10, 10, 0.1e-3)}, 2, 1), ""), HasSubstr("with dilation 150 it would last 0.3 ms"));
}

TEST(Emulation, RealTimeSaysNothing) {
  const auto summary = summarise_emulation(Job{}, {rank_of(1, 10, 10, 1e-3)}, 2, 1);
  EXPECT_FALSE(summary.on);
  EXPECT_EQ(validity(summary), "real time");
  EXPECT_EQ(describe(summary, "none"), "");
  EXPECT_EQ(emulation_table(summary, {rank_of(1, 10, 10, 1e-3)}), io::EmulationTable{});
  EXPECT_EQ(describe_emulation(Job{}, ModelConfig{}), "none");
}

}  // namespace
}  // namespace moebius::ranks
