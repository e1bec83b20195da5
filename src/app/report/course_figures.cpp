// SPDX-License-Identifier: Apache-2.0
// Throughput and queues along the run.
#include <fmt/format.h>

#include <algorithm>

#include "app/report/colors.hpp"
#include "app/report/figures.hpp"
#include "app/report/markup.hpp"
#include "app/report/series_math.hpp"
#include "app/report/svg.hpp"

namespace moebius::app {
namespace {

constexpr std::size_t most_named_curves = 8;
constexpr std::string_view no_series = "These results hold no series: they were merged from shards, or an earlier version wrote them.";

using Curve = std::vector<std::pair<double, double>>;  // time, value

struct NamedCurve {
  std::string name;
  Curve points;
};

/// What grew per second in each of at most 60 slices, as steps: tokens enter in bursts.
template <class Value>
Curve rate_of_all(const ReportData& data, double end_s, Value value) {
  std::size_t most_points = 0;
  for (const RankCourse& rank : data.ranks) most_points = std::max(most_points, rank.points.size());
  const auto num_slices = std::clamp<std::size_t>(most_points / 3, 1, 60);
  Curve curve;
  for (std::size_t slice = 0; slice < num_slices; ++slice) {
    const double from = end_s * static_cast<double>(slice) / static_cast<double>(num_slices),
                 to = end_s * static_cast<double>(slice + 1) / static_cast<double>(num_slices);
    double sum = 0;
    for (const RankCourse& rank : data.ranks) {
      if (!rank.points.empty()) sum += value_at(rank.points, to, value) - value_at(rank.points, from, value);
    }
    curve.emplace_back(from, sum / (to - from));
    curve.emplace_back(to, sum / (to - from));
  }
  return curve;
}

std::string curve_legend(const std::vector<NamedCurve>& curves) {
  std::vector<std::pair<std::string_view, std::string>> colors;
  for (std::size_t i = 0; i < curves.size(); ++i) colors.emplace_back(line_color(i), escaped(curves[i].name));
  return legend(colors);
}

std::string curves_figure(const ReportData& data, const std::vector<NamedCurve>& curves, double end_s, std::string_view value_name) {
  double largest = 0;
  for (const NamedCurve& curve : curves) {
    for (const auto& [time, value] : curve.points) largest = std::max(largest, value);
  }
  const Box area{82, 10, Svg::page_width - 100, 200};
  Svg svg(Svg::page_width, area.y + area.height + 46, value_name);
  const Scale y = value_axis(svg, area, largest, value_name);
  const Scale x = time_axis(svg, area, 0, end_s, "time since the start of the loop");
  for (std::size_t i = 0; i < curves.size(); ++i) {
    Curve placed;
    for (const auto& [time, value] : curves[i].points) placed.emplace_back(x(time), y(value));
    svg.curve(placed, line_color(i));
  }
  mark_changes(svg, data, x, area);
  return curve_legend(curves) + "<figure>" + svg.take() + "</figure>\n";
}

/// A curve a rank, or where there are too many their mean and the longest.
template <class Value>
std::vector<NamedCurve> queue_curves(const ReportData& data, Value value, const char* without_role) {
  std::vector<const RankCourse*> ranks;
  for (const RankCourse& rank : data.ranks) {
    if (rank.role != without_role && !rank.points.empty()) ranks.push_back(&rank);
  }
  std::vector<NamedCurve> curves;
  if (ranks.size() <= most_named_curves) {
    for (const RankCourse* rank : ranks) {
      curves.push_back({rank_name(*rank), {}});
      for (const SeriesPoint& point : rank->points) curves.back().points.emplace_back(point.time_s, static_cast<double>(value(point)));
    }
    return curves;
  }
  curves = {{"mean of the ranks", {}}, {"longest of a rank", {}}};
  const double end_s = end_of_series(data);
  for (int i = 0; i <= 300; ++i) {
    const double time_s = end_s * i / 300;
    double sum = 0, longest = 0;
    for (const RankCourse* rank : ranks) {
      const double length = value_at(rank->points, time_s, value);
      sum += length;
      longest = std::max(longest, length);
    }
    curves[0].points.emplace_back(time_s, sum / static_cast<double>(ranks.size()));
    curves[1].points.emplace_back(time_s, longest);
  }
  return curves;
}

}  // namespace

std::string throughput_section(const ReportData& data) {
  constexpr std::string_view title = "Throughput along the run";
  const double end_s = end_of_series(data);
  if (end_s <= 0) return left_out("throughput", title, no_series);
  const std::vector<NamedCurve> curves = {
      {"tokens computed", rate_of_all(data, end_s, [](const SeriesPoint& p) { return p.tokens_fed; })},
      {"tokens scored or generated", rate_of_all(data, end_s, [](const SeriesPoint& p) { return p.tokens_out; })}};
  return section(data, "throughput", title,
                 "Tokens a second of all ranks together: positions that entered the model, and tokens that were scored or generated. A dashed line "
                 "is a change of the "
                 "placement.",
                 curves_figure(data, curves, end_s, "tokens/s"));
}

std::string queues_section(const ReportData& data) {
  constexpr std::string_view title = "Queues along the run";
  const double end_s = end_of_series(data);
  if (end_s <= 0) return left_out("queues", title, no_series);
  const auto tokens = [](const SeriesPoint& point) { return point.queued_tokens; };
  const auto rows = [](const SeriesPoint& point) { return point.queued_rows; };
  return section(data, "queues", title,
                 "Rows that waited at the moments at which the ranks were looked at: tokens in front of attention, and rows in front of the experts "
                 "of a rank. Empty queues are "
                 "idle ranks; one that stays long is the bottleneck.",
                 "<h3>In front of attention</h3>\n" + curves_figure(data, queue_curves(data, tokens, "expert"), end_s, "tokens") +
                     "<h3>In front of experts</h3>\n" + curves_figure(data, queue_curves(data, rows, "attention"), end_s, "rows"));
}

}  // namespace moebius::app
