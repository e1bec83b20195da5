// SPDX-License-Identifier: Apache-2.0
#pragma once
// All that the report page shows of a result folder, read once.

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "app/summary.hpp"
#include "base/request.hpp"
#include "io/results_reader.hpp"

namespace moebius::app {

struct RankCourse {
  int rank = 0;
  std::string role;
  double loop_s = 0;                ///< until its last point
  std::vector<SeriesPoint> points;  ///< empty in results of an earlier version
  std::vector<Interval> intervals;  ///< empty where no timeline was recorded
  std::vector<Transfer> transfers;  ///< the same: messages that came to it
};

struct ReportData {
  std::string folder;
  std::vector<std::pair<std::string, std::string>> attributes;
  ResultSummary summary;
  std::vector<Row> failed_rows;    ///< the first of them
  std::string emulation;           ///< what was not measured but emulated; empty: nothing
  std::string emulation_note;      ///< the same in a few words, for every figure
  io::PredictedTable predicted;    ///< zeros where nothing was predicted
  io::EmulationTable slow_motion;  ///< dilation 0: the run was in real time
  std::vector<io::RankTiming> timing;
  std::vector<io::RankMemory> memory;
  std::vector<io::RankPrefixCache> prefix_caches;
  std::vector<io::RankLatency> latencies;
  std::vector<io::RankWork> work;
  std::vector<RankCourse> ranks;  ///< ascending
  io::ExpertLoad load;
  io::PlacementHistory placement;
  io::ExpertActivation activation;
  io::CapacityTable capacity;
  std::vector<io::PlacementChange> changes;
  std::vector<io::RankRebalance> rebalance;

  /// Empty where there is none.
  [[nodiscard]] std::string attribute(std::string_view name) const;
};

/// Failure(bad_usage) where the run in the folder has not ended, Failure(unreadable_input) where there is none.
ReportData read_report_data(const std::filesystem::path& directory);

}  // namespace moebius::app
