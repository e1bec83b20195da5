// SPDX-License-Identifier: Apache-2.0
#include "ranks/rank_report.hpp"

#include <gtest/gtest.h>

#include "base/check.hpp"

namespace moebius::ranks {
namespace {

RankReport example() {
  RankReport report{.rank = 3, .role = "expert", .node = "n7", .loop_s = 1.5, .peak_rss_bytes = 1 << 20,
                    .memory = {{"kv_cache", 12}, {"", 0}}, .inter_token_buckets = {0, 4, 1}, .experts = {.rows_received = 5, .calls = 2}, .load = {{1, 2}, {}, {3}},
                    .trace = {64, 1, 1, 2, {3, 4}}};
  report.phases[4] = {.seconds = 0.25, .calls = 9, .rows = 8, .bytes = 7};
  report.activation = policy::ActivationCounters(2, 3);
  report.activation.max_rows[5] = 8;
  report.activation.micro_batches[1] = 4;
  report.emulation = {.processor_s = 1, .loop_s = 2, .elapsed_s = 3, .pace = {.stages = 4}};
  report.series = {{.time_s = 0.5, .tokens_fed = 3}, {.time_s = 1.5, .tokens_fed = 9, .queued_rows = 4}};
  report.series[1].seconds[2] = 0.125;
  report.timeline = {{0.25, 0.5, 7, {2, 3}, Phase::expert}, {0.5, 0.75, 0, {}, Phase::idle}};
  report.transfers = {{.begin_s = 1, .end_s = 2, .link_s = 0.5, .pairs = 3, .bytes = 4, .from = 5, .layer = 6, .micro_batch = 7, .part = 8, .call = 9}};
  report.exposed_s = 0.75;
  report.intervals_left_out = 6;
  return report;
}

TEST(RankReport, SurvivesTheTrip) {
  const auto bytes = to_bytes(example());  // of one report: padding differs between two
  const RankReport report = report_from_bytes(bytes);
  EXPECT_EQ(report.rank, 3);
  EXPECT_EQ(report.role, "expert");
  EXPECT_EQ(report.node, "n7");
  EXPECT_EQ(report.memory, example().memory);
  EXPECT_EQ(report.load, example().load);
  EXPECT_EQ(report.trace, example().trace);
  EXPECT_EQ(report.activation, example().activation);
  EXPECT_EQ(report.inter_token_buckets, example().inter_token_buckets);
  EXPECT_EQ(report.phases[4].rows, 8);
  EXPECT_EQ(report.experts.calls, 2);
  EXPECT_EQ(report.emulation.elapsed_s, 3);
  EXPECT_EQ(report.emulation.pace.stages, 4);
  EXPECT_EQ(report.series[1].queued_rows, 4);
  EXPECT_EQ(report.series[1].seconds[2], 0.125);
  EXPECT_EQ(report.timeline[0].stage, (Stage{2, 3}));
  EXPECT_EQ(report.timeline[1].phase, Phase::idle);
  EXPECT_EQ(report.transfers, example().transfers);
  EXPECT_EQ(report.exposed_s, 0.75);
  EXPECT_EQ(report.intervals_left_out, 6);
  EXPECT_EQ(to_bytes(report), bytes);
}

TEST(RankReport, ActivationIsTheMeanOverMicroBatchesAndRanks) {
  RankReport expert, first = example(), second;
  first.activation = policy::ActivationCounters(1, 3);
  first.activation.micro_batches = {4};
  first.activation.even_micro_batches = {1};
  first.activation.largest_activated = {12};
  first.activation.largest_rows = {20};
  first.activation.activated = {0, 10, 6};
  first.activation.rows = {0, 16, 8};
  second.activation = first.activation;
  const ActivationSummary summary = summarise_activation({first, expert, second}, 2);
  EXPECT_EQ(summary.activated_max, 3.0);
  EXPECT_EQ(summary.activated_mean, 2.0);
  EXPECT_EQ(summary.rows_max, 5.0);
  EXPECT_EQ(summary.rows_mean, 3.0);
  EXPECT_EQ(summary.even_share, 0.25);
  EXPECT_EQ(summarise_activation({expert}, 2).activated_max, 0.0);
}

TEST(RankReport, TimesBetweenTokensAreThoseOfAllRanks) {
  LatencyHistogram a, b;
  a.add(0.001);
  b.add(0.1);
  b.add(0.2);
  RankReport first, expert, second;
  first.inter_token_buckets = a.buckets();
  second.inter_token_buckets = b.buckets();
  const LatencyHistogram all = all_inter_token_times({first, expert, second});
  EXPECT_EQ(all.count(), 3);
  EXPECT_NEAR(all.quantile(0.3), 0.001, 0.00001);
  EXPECT_NEAR(all.quantile(0.5), 0.1, 0.001);
  EXPECT_NEAR(all.quantile(1.0), 0.2, 0.002);
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
