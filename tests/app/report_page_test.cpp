// SPDX-License-Identifier: Apache-2.0
#include "app/report/page.hpp"
#include "app/report/trace.hpp"

#include <gmock/gmock.h>
#include <hdf5.h>

#include <nlohmann/json.hpp>
#include <limits>
#include <sstream>
#include <string>

#include "base/failure.hpp"
#include "tests/app/xml_check.hpp"
#include "tests/io/results_support.hpp"

namespace moebius::app {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;
using io::failure_of;
using io::FolderTest;

constexpr std::string_view sections[] = {"facts",   "phases",    "throughput", "queues",   "course",   "timeline",
                                         "experts", "rank-load", "activation", "capacity", "rebalance"};

std::size_t count(std::string_view text, std::string_view part) {
  std::size_t found = 0;
  for (auto at = text.find(part); at != std::string_view::npos; at = text.find(part, at + part.size())) ++found;
  return found;
}

/// Width of the box whose tooltip is this.
double width_of(const std::string& page, const std::string& title) {
  const std::size_t at = page.find("><title>" + title + "</title>");
  if (at == std::string::npos) return -1;
  const std::size_t width = page.rfind("width=\"", at);
  return std::stod(page.substr(width + 7));
}

class ReportPageTest : public FolderTest {
 protected:
  /// A record with everything that a page shows: two ranks, two placements.
  static io::RunRecord full_record() {
    io::RunRecord record = io::sample_record(1);
    record.timing.clear();
    for (int rank = 0; rank < 2; ++rank) {
      for (std::size_t i = 0; i < num_phases; ++i) {
        record.timing.push_back(
            {.rank = rank, .role = rank == 0 ? "attention" : "expert", .node = "one", .phase = static_cast<Phase>(i), .total = {.seconds = 0.5}});
      }
    }
    record.timeline = {{.rank = 0, .interval = {0.0, 0.75, 3, {.layer = 1}, Phase::attention}},
                       {.rank = 1, .interval = {0.0, 0.25, 70, {.layer = 2, .place = 5}, Phase::expert}},
                       {.rank = 1, .interval = {0.25, 1.0, 0, {}, Phase::idle}}};
    record.series.clear();
    for (int rank = 0; rank < 2; ++rank) {
      for (int i = 0; i <= 10; ++i) {
        SeriesPoint point{
            .time_s = 0.4 * i, .tokens_fed = rank == 0 ? 100 * i : 0, .tokens_out = rank == 0 ? 10 * i : 0, .queued_tokens = i, .queued_rows = 2 * i};
        point.seconds[static_cast<std::size_t>(rank == 0 ? Phase::attention : Phase::expert)] = 0.1 * i;
        point.seconds[static_cast<std::size_t>(Phase::idle)] = 0.3 * i;
        record.series.push_back({rank, point});
      }
    }
    record.placement = {.num_generations = 2,
                        .num_layers = 2,
                        .num_ranks = 2,
                        .num_places = 2,
                        .expert = {0, 2, 1, -1, 0, 1, 2, -1, /* then */ 2, 0, 0, 1, 2, -1, 0, 1}};
    return record;
  }
  fs::path write(const io::RunRecord& record, const std::string& name = "run") {
    const io::FilledFolder filled = io::fill_folder(folder_ / name, {.num_lines = 20});
    io::write_master(filled.directory, record);
    return filled.directory;
  }
};

TEST_F(ReportPageTest, HasEveryFigureAndNeedsNothingBesideItself) {
  const std::string page = report_page(read_report_data(write(full_record())));
  EXPECT_EQ(XmlCheck::problem(page), "");
  for (const std::string_view id : sections) EXPECT_THAT(page, HasSubstr("<section id=\"" + std::string(id) + "\"")) << id;
  EXPECT_EQ(count(page, "earlier version"), 0U);
  EXPECT_EQ(count(page, "class=\"out\""), 0U);  // nothing was left out
  for (const char* never : {"http", "<script", "url(", "@import", "src=", "nan", "inf\"", "\"-0\""}) EXPECT_THAT(page, Not(HasSubstr(never)));
}

TEST_F(ReportPageTest, BarsAreAsLongAsTheirTimes) {
  const std::string page = report_page(read_report_data(write(full_record())));
  const double attention = width_of(page, "attention: 1 s"), idle = width_of(page, "idle: 3 s"), experts = width_of(page, "routed experts: 1 s");
  EXPECT_GT(attention, 100);
  EXPECT_NEAR(idle / attention, 3, 1e-3);
  EXPECT_NEAR(experts / attention, 1, 1e-3);
  EXPECT_THAT(page, HasSubstr("75.0 %"));
}

TEST_F(ReportPageTest, OfManyRanksSomeOfEveryKindAreDrawn) {
  io::RunRecord record = full_record();
  for (int rank = 2; rank < 60; ++rank) {
    record.timing.push_back(
        {.rank = rank, .role = rank < 30 ? "attention" : "expert", .node = "two", .phase = Phase::attention, .total = {.seconds = 0.5}});
    record.timeline.push_back({.rank = rank, .interval = {0.0, 1.0, 1, {}, Phase::attention}});
  }
  const std::string page = report_page(read_report_data(write(record)));
  const std::string timeline = page.substr(page.find("id=\"timeline\""), page.find("id=\"experts\"") - page.find("id=\"timeline\""));
  EXPECT_THAT(timeline, HasSubstr("16 of 60 ranks are drawn, evenly spread."));
  EXPECT_EQ(count(timeline, ", attention</text>"), 8U);
  EXPECT_EQ(count(timeline, ", expert</text>"), 8U);
  EXPECT_EQ(XmlCheck::problem(page), "");
}

TEST_F(ReportPageTest, LoadsOfRanksAreThoseOfTheFirstAndOfTheLastPlacement) {
  const std::string page = report_page(read_report_data(write(full_record())));
  // Loads 1 2 3 and 4 5 6; first: ranks have 4 2 and 9 6, last, where both have expert 0: 3.5 2.5 and 6 9.
  EXPECT_THAT(page, HasSubstr("1.27 times the mean with the first placement and 1.18 with the last of 2"));
  EXPECT_THAT(page, HasSubstr("layer 0, rank 0: 1.33 times the mean"));
  EXPECT_THAT(page, HasSubstr("layer 0, rank 0: 1.17 times the mean"));
  EXPECT_THAT(page, HasSubstr("layer 1, rank 1: 1.20 times the mean"));
  EXPECT_THAT(page, HasSubstr("layer 1, expert 2: 1.20 times the mean"));
}

TEST_F(ReportPageTest, TellsOfChangesCapacityAndSpeed) {
  const std::string page = report_page(read_report_data(write(full_record())));
  EXPECT_THAT(page, HasSubstr("generation 1, predicted: 500 ms"));
  EXPECT_THAT(page, HasSubstr("generation 2, measured: -125 ms"));
  EXPECT_THAT(page, HasSubstr("-50.0 %"));
  EXPECT_THAT(page, HasSubstr("11.8 %"));  // 4 of 34 pairs dropped
  EXPECT_THAT(page, HasSubstr("3.33 G tokens/s computed"));
  EXPECT_THAT(page, HasSubstr("3 intervals are missing"));
  EXPECT_THAT(page, HasSubstr("expert, 250 ms, layer 2, expert at place 5, 70 rows"));
}

TEST_F(ReportPageTest, AGainThatWasNotMeasuredIsNoNumber) {
  io::RunRecord record = full_record();
  record.changes[0].measured_gain_s = std::numeric_limits<double>::quiet_NaN();
  record.rebalance = {{.rank = 1, .experts_received = 3, .bytes_staged = 2048, .largest_stall_s = 0.002, .longest_expert_call_s = 0.004}};
  const std::string page = report_page(read_report_data(write(record)));
  EXPECT_EQ(count(page, "generation 1, measured"), 0U);
  EXPECT_EQ(count(page, "nan"), 0U);
  EXPECT_THAT(page, HasSubstr("generation 1, predicted: 500 ms"));
  EXPECT_THAT(page, HasSubstr("<td class=\"n\">2 KiB</td>"));
  EXPECT_EQ(XmlCheck::problem(page), "");
}

TEST_F(ReportPageTest, NothingFromTheInputIsMarkup) {
  constexpr const char* attack = "<script>alert(\"x\")</script>&'";
  io::RunRecord record = full_record();
  for (auto& [name, value] : record.texts) value = attack;
  record.texts.emplace_back("emulation", attack);
  record.texts.emplace_back("expert_placement", attack);
  for (io::RankTiming& row : record.timing) row.role = row.node = attack;
  const fs::path directory = folder_ / "a<script>b";
  prepare_output_directory(directory, io::OnExisting::resume);
  io::BlockWriter writer(directory, RankId(0), 5, "f00d");
  Row row;
  row.custom_id = row.message = attack;
  row.input_line = 1;
  row.status = RowStatus::bad_json;
  writer.add({row});
  writer.finish();
  io::write_master(directory, record);
  const std::string page = report_page(read_report_data(directory));
  EXPECT_EQ(XmlCheck::problem(page), "");
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, HasSubstr("<td>&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;&#39;</td>"));
  EXPECT_THAT(page, HasSubstr("a&lt;script&gt;b"));
}

TEST_F(ReportPageTest, AnEmulatedRunIsCalledThatWithEveryFigure) {
  io::RunRecord record = full_record();
  record.texts.emplace_back("emulated_slowdown", "1 1.5");
  const std::string page = report_page(read_report_data(write(record)));
  EXPECT_THAT(page, HasSubstr("Emulated run"));
  EXPECT_EQ(count(page, "<strong>Emulated:"), count(page, "class=\"cap\""));
  record.texts.back().second = "none";
  EXPECT_THAT(report_page(read_report_data(write(record, "not"))), Not(HasSubstr("<strong>Emulated")));
}

TEST_F(ReportPageTest, SlowMotionIsToldApartFromTheClock) {
  io::RunRecord record = full_record();
  record.texts.emplace_back("emulation", "H100 with the sizes of Mixtral");
  record.texts.emplace_back("emulation_valid", "no (stages were late)");
  record.emulation = {.dilation = 100, .seconds = 0.04, .tokens_per_s = 25000};
  const std::string page = report_page(read_report_data(write(record)));
  EXPECT_THAT(page, HasSubstr("<strong>Emulated run</strong>: H100 with the sizes of Mixtral; valid: no (stages were late)"));
  EXPECT_THAT(page, HasSubstr("25 k tokens/s, 40 ms of the device; valid: no (stages were late)"));
  EXPECT_THAT(page, HasSubstr("Speed by the clock"));
  EXPECT_EQ(count(page, "<strong>Emulated: slow motion, 100 s of the clock shown here are 1 s of the device."), count(page, "class=\"cap\""));
}

TEST_F(ReportPageTest, FiguresOfWhatAnEarlierVersionDidNotWriteAreLeftOutWithASentence) {
  const fs::path directory = write(full_record());
  const hid_t file = H5Fopen(io::master_path(directory).c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  for (const char* group : {"/ranks/work", "/ranks/series", "/ranks/timeline", "/ranks/latency", "/rebalance", "/experts"}) {
    ASSERT_GE(H5Ldelete(file, group, H5P_DEFAULT), 0) << group;
  }
  H5Fclose(file);
  const std::string page = report_page(read_report_data(directory));
  EXPECT_EQ(XmlCheck::problem(page), "");
  EXPECT_EQ(count(page, "class=\"out\""), 8U);
  EXPECT_THAT(page, HasSubstr("No timeline was recorded"));
  EXPECT_THAT(page, HasSubstr("attention: 500 ms"));  // from the timing, without loading
}

TEST_F(ReportPageTest, TheTraceHasEveryIntervalInMicroseconds) {
  std::ostringstream out;
  write_trace(out, read_report_data(write(full_record())));
  const nlohmann::json trace = nlohmann::json::parse(out.str());
  const nlohmann::json& events = trace["traceEvents"];
  ASSERT_EQ(events.size(), 9U);  // two names, three intervals, two messages of two events
  EXPECT_EQ(events[5]["name"], "expert");
  EXPECT_EQ(events[5]["tid"], 1);
  EXPECT_EQ(events[5]["dur"], 250000.0);
  EXPECT_EQ(events[5]["args"]["rows"], 70);
  EXPECT_EQ(events[6]["ts"], 250000.0);
  EXPECT_EQ(events[2]["ph"], "b");
  EXPECT_EQ(events[2]["name"], "outputs");
  EXPECT_EQ(events[3]["ph"], "e");
  EXPECT_EQ(events[3]["ts"], 1000000.0);
  EXPECT_EQ(events[3]["id"], events[2]["id"]);
  EXPECT_EQ(events[7]["tid"], 1);
  EXPECT_EQ(events[7]["args"]["part"], 5);
  io::RunRecord record = full_record();
  record.timeline.clear();
  const ReportData without = read_report_data(write(record, "without"));
  EXPECT_THAT(failure_of([&] { write_trace(out, without); }, ExitCode::bad_usage), HasSubstr("run.timeline=true"));
}

TEST_F(ReportPageTest, ARunThatHasNotEndedIsNamedAndSoIsAFolderWithoutResults) {
  const io::FilledFolder filled = io::fill_folder(folder_ / "run", {.num_lines = 3});
  const std::string unfinished = failure_of([&] { read_report_data(filled.directory); }, ExitCode::bad_usage);
  EXPECT_THAT(unfinished, HasSubstr("its run has not ended"));
  EXPECT_THAT(unfinished, HasSubstr("run the job again"));
  fs::create_directories(folder_ / "empty");
  EXPECT_THAT(failure_of([&] { read_report_data(folder_ / "empty"); }), HasSubstr("name a folder that `moebius run` wrote"));
}

}  // namespace
}  // namespace moebius::app
