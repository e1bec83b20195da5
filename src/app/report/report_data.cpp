// SPDX-License-Identifier: Apache-2.0
#include "app/report/report_data.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/failure.hpp"

namespace moebius::app {
namespace {

constexpr std::size_t num_failed_rows_shown = 10;

std::vector<RankCourse> courses_of(const io::ResultsReader& reader, const std::vector<io::RankTiming>& timing) {
  std::map<int, RankCourse> ranks;
  for (const io::RankTiming& row : timing) {
    RankCourse& rank = ranks[row.rank];
    rank.rank = row.rank;
    rank.role = row.role;
  }
  for (const io::RankSeriesPoint& point : reader.series()) ranks[point.rank].points.push_back(point.point);
  for (const io::RankInterval& interval : reader.timeline()) ranks[interval.rank].intervals.push_back(interval.interval);
  for (const io::RankTransfer& transfer : reader.transfers()) ranks[transfer.rank].transfers.push_back(transfer.transfer);
  std::vector<RankCourse> courses;
  for (auto& [number, rank] : ranks) {
    rank.rank = number;
    if (!rank.points.empty()) rank.loop_s = rank.points.back().time_s;
    courses.push_back(std::move(rank));
  }
  return courses;
}

/// What takes the place of measurements: all of it, and in a few words.
void note_emulation(ReportData& data) {
  const auto add = [&](const std::string& all, const std::string& note) {
    data.emulation += (data.emulation.empty() ? "" : "; ") + all;
    data.emulation_note += (data.emulation_note.empty() ? "" : "; ") + note;
  };
  const std::string emulation = data.attribute("emulation"), valid = data.attribute("emulation_valid"),
                    slowdown = data.attribute("emulated_slowdown");
  if (!emulation.empty() && emulation != "none") {
    add(emulation + (valid.empty() ? "" : "; valid: " + valid),
        data.slow_motion.dilation > 0 ? fmt::format("slow motion, {:.6g} s of the clock shown here are 1 s of the device", data.slow_motion.dilation)
                                      : emulation);
  }
  if (!slowdown.empty() && slowdown != "none") {
    const std::string text = "expert ranks slowed by the factors " + slowdown;
    add(text, text);
  }
}

}  // namespace

std::string ReportData::attribute(std::string_view name) const {
  const auto found = std::ranges::find(attributes, name, &std::pair<std::string, std::string>::first);
  return found == attributes.end() ? std::string() : found->second;
}

ReportData read_report_data(const std::filesystem::path& directory) {
  const io::ResultsReader reader(directory);
  if (!reader.has_master()) {
    throw Failure{ExitCode::bad_usage,
                  fmt::format("cannot report on {} (its run has not ended: {} rows are committed, results.h5 is not written) run the "
                              "job again to finish it",
                              directory.native(), reader.num_rows())};
  }
  ReportData data;
  data.folder = directory.native();
  data.attributes = reader.attributes();
  data.summary = summarise_results(directory, [&](const Row& row) {
    if (!succeeded(row.status) && data.failed_rows.size() < num_failed_rows_shown) data.failed_rows.push_back(row);
  });
  data.slow_motion = reader.emulation();
  data.predicted = reader.predicted();
  note_emulation(data);
  data.timing = reader.timing();
  data.memory = reader.memory();
  data.prefix_caches = reader.prefix_caches();
  data.latencies = reader.latencies();
  data.work = reader.work();
  data.ranks = courses_of(reader, data.timing);
  data.load = reader.expert_load();
  data.placement = reader.placement();
  data.activation = reader.expert_activation();
  data.capacity = reader.capacity();
  data.changes = reader.placement_changes();
  data.rebalance = reader.rebalance();
  return data;
}

}  // namespace moebius::app
