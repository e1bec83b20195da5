// SPDX-License-Identifier: Apache-2.0
#pragma once
// Curves out of the points of ranks, which were taken at different moments.

#include <algorithm>
#include <vector>

#include "app/report/report_data.hpp"
#include "app/report/svg.hpp"

namespace moebius::app {

/// Between two points in proportion, before the first and behind the last as they are. `points` is not empty.
template <class Value>
double value_at(const std::vector<SeriesPoint>& points, double time_s, Value value) {
  const auto next = std::ranges::lower_bound(points, time_s, {}, &SeriesPoint::time_s);
  if (next == points.begin()) return static_cast<double>(value(points.front()));
  if (next == points.end()) return static_cast<double>(value(points.back()));
  const auto before = next - 1;
  const double from = static_cast<double>(value(*before)), share = (time_s - before->time_s) / (next->time_s - before->time_s);
  return from + share * (static_cast<double>(value(*next)) - from);
}

/// When the last rank was done; 0 without series.
inline double end_of_series(const ReportData& data) {
  double end_s = 0;
  for (const RankCourse& rank : data.ranks) end_s = std::max(end_s, rank.loop_s);
  return end_s;
}

/// A line for each change of the placement.
inline void mark_changes(Svg& svg, const ReportData& data, const Scale& scale, const Box& area) {
  for (const io::PlacementChange& change : data.changes) {
    if (change.time_s >= scale.from && change.time_s <= scale.to)
      svg.line(scale(change.time_s), area.y, scale(change.time_s), area.y + area.height, "change");
  }
}

}  // namespace moebius::app
