// SPDX-License-Identifier: Apache-2.0
#include "io/results_reader.hpp"

#include <sys/resource.h>

#include <tuple>

#include "io/journal.hpp"
#include "io/open_files.hpp"
#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

using ResultsReaderTest = FolderTest;

std::vector<Row> all_rows(const ResultsReader& reader, std::int64_t window) {
  std::vector<Row> rows;
  for (std::int64_t first = 0; first < reader.num_rows(); first += window)
    for (Row& row : reader.read_rows(first, window)) rows.push_back(std::move(row));
  return rows;
}

TEST_F(ResultsReaderTest, WindowsOfAnySizeFromAnySourceGiveTheRowsInInputOrder) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.seed = 4, .num_lines = 80});
  write_master(filled.directory, sample_record(1));
  for (const RowSource source : {RowSource::automatic, RowSource::master, RowSource::blocks}) {
    const ResultsReader reader(filled.directory, source);
    EXPECT_EQ(reader.num_rows(), static_cast<std::int64_t>(filled.rows.size()));
    for (const std::int64_t window : {1, 7, 100000}) EXPECT_EQ(all_rows(reader, window), filled.rows) << window;
    EXPECT_TRUE(reader.read_rows(reader.num_rows() + 5, 3).empty());
  }
}

TEST_F(ResultsReaderTest, ARunThatHasNotEndedIsReadFromItsBlocks) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 20});
  const ResultsReader reader(filled.directory);
  EXPECT_FALSE(reader.has_master());
  EXPECT_EQ(all_rows(reader, 1000), filled.rows);
  EXPECT_TRUE(reader.attributes().empty());
  EXPECT_TRUE(reader.timing().empty());
  EXPECT_FALSE(failure_of([&] { ResultsReader(filled.directory, RowSource::master); }).empty());
}

TEST_F(ResultsReaderTest, GivesBackWhatIsKnownOfTheRun) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 20});
  const auto num_rows = static_cast<std::int64_t>(filled.rows.size());
  const RunRecord record = sample_record(num_rows);
  write_master(filled.directory, record);
  const ResultsReader reader(filled.directory);
  for (const auto& [name, value] : record.texts) EXPECT_EQ(reader.attribute(name), value) << name;
  EXPECT_EQ(reader.attribute("seed"), std::to_string(record.seed));
  EXPECT_EQ(reader.attribute("restart_count"), "2");
  EXPECT_EQ(reader.attribute("start_utc"), record.start_utc);
  EXPECT_EQ(reader.attribute("end_utc"), record.end_utc);
  EXPECT_EQ(reader.attribute("num_rows_expected"), std::to_string(num_rows));
  EXPECT_EQ(reader.attribute("invariance_digest"), to_hex(filled.digest));
  EXPECT_EQ(reader.attribute("no_such_name"), std::nullopt);

  const std::vector<RankTiming> timing = reader.timing();
  ASSERT_EQ(timing.size(), record.timing.size());
  for (std::size_t i = 0; i < timing.size(); ++i) {
    EXPECT_EQ(timing[i].rank, record.timing[i].rank);
    EXPECT_EQ(timing[i].role, record.timing[i].role);
    EXPECT_EQ(timing[i].node, record.timing[i].node);
    EXPECT_EQ(timing[i].phase, record.timing[i].phase);
    EXPECT_EQ(timing[i].total.seconds, record.timing[i].total.seconds);
    EXPECT_EQ(timing[i].total.calls, record.timing[i].total.calls);
    EXPECT_EQ(timing[i].total.rows, record.timing[i].total.rows);
    EXPECT_EQ(timing[i].total.bytes, record.timing[i].total.bytes);
  }
  ASSERT_EQ(reader.prefix_caches().size(), 1U);
  EXPECT_EQ(reader.prefix_caches()[0].rank, 1);
  EXPECT_EQ(reader.prefix_caches()[0].root_tokens, 5'000'000'000);
  EXPECT_EQ(reader.prefix_caches()[0].root_tokens_reused, 4'000'000'000);
  EXPECT_EQ(reader.prefix_caches()[0].kv_blocks_evicted, 17);
  ASSERT_EQ(reader.latencies().size(), 1U);
  EXPECT_EQ(reader.latencies()[0].rank, 1);
  EXPECT_EQ(reader.latencies()[0].inter_token_count, 6'000'000'000);
  EXPECT_EQ(reader.latencies()[0].inter_token_p50_s, 0.25);
  EXPECT_EQ(reader.latencies()[0].inter_token_p99_s, 0.5);
  EXPECT_EQ(reader.latencies()[0].inter_token_max_s, 2.0);
  ASSERT_EQ(reader.memory().size(), 2U);
  EXPECT_EQ(reader.memory()[0].peak_rss_bytes, record.memory[0].peak_rss_bytes);
  EXPECT_EQ(reader.expert_load().num_experts, 3);
  EXPECT_EQ(reader.expert_load().rows, record.load.rows);
  EXPECT_EQ(reader.placement().num_places, 2);
  EXPECT_EQ(reader.placement().expert, record.placement.expert);
  EXPECT_EQ(reader.routing_trace().step_tokens, 64);
  EXPECT_EQ(reader.routing_trace().num_steps, 2);
  EXPECT_EQ(reader.routing_trace().num_layers, 1);
  EXPECT_EQ(reader.routing_trace().rows, record.trace.rows);
  EXPECT_EQ(reader.expert_activation().expert_weight_bytes, 4096);
  EXPECT_EQ(reader.expert_activation().num_ranks, 3);
  EXPECT_EQ(reader.expert_activation().even_micro_batches, record.activation.even_micro_batches);
  EXPECT_EQ(reader.expert_activation().largest_rows, record.activation.largest_rows);
  EXPECT_EQ(reader.expert_activation().max_activated, record.activation.max_activated);
  EXPECT_EQ(reader.expert_activation().rows, record.activation.rows);
  EXPECT_EQ(reader.capacity().dropped, record.capacity.dropped);
  EXPECT_EQ(reader.capacity().added, record.capacity.added);
  EXPECT_EQ(reader.emulation(), record.emulation);
  EXPECT_EQ(reader.predicted(), record.predicted);
  EXPECT_EQ(reader.placement_changes(), record.changes);
  EXPECT_EQ(reader.rebalance(), record.rebalance);
}

TEST_F(ResultsReaderTest, GivesBackTheCourseOfTheRun) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 5});
  const RunRecord record = sample_record(5);
  write_master(filled.directory, record);
  const ResultsReader reader(filled.directory);
  EXPECT_EQ(reader.work(), record.work);
  const std::vector<RankInterval> timeline = reader.timeline();
  ASSERT_EQ(timeline.size(), record.timeline.size());
  for (std::size_t i = 0; i < timeline.size(); ++i) {
    EXPECT_EQ(timeline[i].rank, record.timeline[i].rank);
    EXPECT_EQ(timeline[i].interval.phase, record.timeline[i].interval.phase);
    EXPECT_EQ(timeline[i].interval.begin_s, record.timeline[i].interval.begin_s);
    EXPECT_EQ(timeline[i].interval.end_s, record.timeline[i].interval.end_s);
    EXPECT_EQ(timeline[i].interval.stage, record.timeline[i].interval.stage);
    EXPECT_EQ(timeline[i].interval.rows, record.timeline[i].interval.rows);
  }
  const std::vector<RankTransfer> transfers = reader.transfers();
  ASSERT_EQ(transfers.size(), record.transfers.size());
  for (std::size_t i = 0; i < transfers.size(); ++i) {
    EXPECT_EQ(transfers[i].rank, record.transfers[i].rank);
    EXPECT_EQ(transfers[i].transfer, record.transfers[i].transfer);
  }
  const std::vector<RankSeriesPoint> series = reader.series();
  ASSERT_EQ(series.size(), record.series.size());
  for (std::size_t i = 0; i < series.size(); ++i) {
    EXPECT_EQ(series[i].rank, record.series[i].rank);
    EXPECT_EQ(series[i].point.time_s, record.series[i].point.time_s);
    EXPECT_EQ(series[i].point.seconds, record.series[i].point.seconds);
    EXPECT_EQ(series[i].point.tokens_fed, record.series[i].point.tokens_fed);
    EXPECT_EQ(series[i].point.tokens_out, record.series[i].point.tokens_out);
    EXPECT_EQ(series[i].point.expert_rows, record.series[i].point.expert_rows);
    EXPECT_EQ(series[i].point.queued_tokens, record.series[i].point.queued_tokens);
    EXPECT_EQ(series[i].point.queued_rows, record.series[i].point.queued_rows);
  }
}

TEST_F(ResultsReaderTest, WithoutItsJournalTheRowsComeThroughTheMaster) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 20});
  write_master(filled.directory, sample_record(1));
  std::filesystem::remove(journal_path(filled.directory));
  EXPECT_EQ(all_rows(ResultsReader(filled.directory), 9), filled.rows);
  EXPECT_FALSE(failure_of([&] { ResultsReader(filled.directory, RowSource::blocks); }).empty());
}

TEST_F(ResultsReaderTest, ABlockRemovedAfterOpeningIsAFailure) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 20});
  write_master(filled.directory, sample_record(1));
  for (const RowSource source : {RowSource::blocks, RowSource::master}) {
    const ResultsReader reader(filled.directory, source);
    const std::filesystem::path victim = block_files(filled.directory).at(0);
    std::filesystem::rename(victim, folder_ / "aside");
    EXPECT_NE(failure_of([&] { std::ignore = reader.read_rows(0, 1000); }).find(".h5"), std::string::npos);
    std::filesystem::rename(folder_ / "aside", victim);
    EXPECT_EQ(all_rows(reader, 1000), filled.rows);
  }
}

// Beyond the limit of open files HDF5 reads fill values through the master, without a word.
TEST_F(ResultsReaderTest, MoreBlocksThanMayBeOpenAreReadOneByOneAndNeverAsFillValues) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 70, .rows_per_block = 1});
  write_master(filled.directory, sample_record(1));
  ASSERT_GT(block_files(filled.directory).size(), 65U);
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const rlimit few{.rlim_cur = 60, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
  EXPECT_EQ(all_rows(ResultsReader(filled.directory), 1000), filled.rows);
  EXPECT_THROW(std::ignore = ResultsReader(filled.directory, RowSource::master).read_rows(0, 1000), Failure);
  EXPECT_EQ(ManyOpenFiles::room(), 0);
  {
    const ManyOpenFiles many;
    EXPECT_GT(ManyOpenFiles::room(), 65);
    EXPECT_EQ(all_rows(ResultsReader(filled.directory, RowSource::master), 1000), filled.rows);
  }
  EXPECT_EQ(ManyOpenFiles::room(), 0);
  ::setrlimit(RLIMIT_NOFILE, &before);
}

TEST_F(ResultsReaderTest, AFolderWithoutResultsIsNamed) {
  EXPECT_NE(failure_of([&] { ResultsReader reader(folder_ / "nothing"); }).find("nothing"), std::string::npos);
}

}  // namespace
}  // namespace moebius::io
