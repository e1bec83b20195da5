// SPDX-License-Identifier: Apache-2.0
// Where the time of each rank went: over the whole run as bars, along the run as strips.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>

#include "app/report/colors.hpp"
#include "app/report/figures.hpp"
#include "app/report/markup.hpp"
#include "app/report/series_math.hpp"
#include "app/report/svg.hpp"

namespace moebius::app {
namespace {

constexpr double label_width = 150, idle_width = 90;
constexpr std::size_t most_bars = 128, most_strips = 32;

using Seconds = std::array<double, num_phases>;
using GroupSeconds = std::array<double, num_phase_groups>;

GroupSeconds by_group(const Seconds& seconds) {
  GroupSeconds groups{};
  for (std::size_t i = 0; i < num_phases; ++i) groups[group_of(static_cast<Phase>(i))] += seconds[i];
  return groups;
}

/// Of the loop where the series tells, else of the timing, without loading.
std::map<int, Seconds> seconds_of_ranks(const ReportData& data) {
  std::map<int, Seconds> seconds;
  for (const io::RankTiming& row : data.timing) {
    if (row.phase != Phase::load) seconds[row.rank][static_cast<std::size_t>(row.phase)] = row.total.seconds;
  }
  for (const RankCourse& rank : data.ranks) {
    if (!rank.points.empty()) seconds[rank.rank] = rank.points.back().seconds;
  }
  return seconds;
}

std::string seconds_table(const ReportData& data, const std::map<int, Seconds>& seconds) {
  std::vector<TableHead> heads = {{"rank"}, {"role", Align::left}, {"node", Align::left}};
  for (std::size_t i = 1; i < num_phases; ++i) heads.push_back({std::string(to_string(static_cast<Phase>(i)))});
  heads.push_back({"communication not hidden"});
  std::map<int, std::string> nodes;
  for (const io::RankTiming& row : data.timing) nodes[row.rank] = row.node;
  std::vector<std::vector<std::string>> rows;
  for (const RankCourse& rank : data.ranks) {
    rows.push_back({std::to_string(rank.rank), escaped(rank.role), escaped(nodes[rank.rank])});
    for (std::size_t i = 1; i < num_phases; ++i) rows.back().push_back(fmt::format("{:.3f}", seconds.at(rank.rank)[i]));
    const auto work = std::ranges::find(data.work, rank.rank, &io::RankWork::rank);
    rows.back().push_back(work == data.work.end() || std::isnan(work->exposed_s) ? "-" : fmt::format("{:.3f}", work->exposed_s));
  }
  return "<details><summary>Seconds of every phase</summary>\n" + table(heads, rows) + "</details>\n";
}

void draw_bar(Svg& svg, const GroupSeconds& groups, const Scale& scale, double y, double height) {
  double begin = 0;
  for (std::size_t group = 0; group < num_phase_groups; ++group) {
    if (groups[group] <= 0) continue;
    const double x = scale(begin), width = scale(begin + groups[group]) - x;
    svg.rect({x, y, width, height}, phase_groups[group].color, fmt::format("{}: {}", phase_groups[group].name, duration(groups[group])));
    begin += groups[group];
  }
}

/// Shares of the phases in each of many slices of the run, stacked; a group a path.
void draw_strip(Svg& svg, const RankCourse& rank, const Scale& scale, double y, double height) {
  constexpr int num_slices = 240;
  std::array<std::vector<Box>, num_phase_groups> boxes;
  const double step = (scale.to - scale.from) / num_slices;
  for (int slice = 0; slice < num_slices; ++slice) {
    const double from = scale.from + slice * step, to = from + step;
    Seconds spent{};
    for (std::size_t i = 0; i < num_phases; ++i) {
      const auto seconds = [&](const SeriesPoint& point) { return point.seconds[i]; };
      spent[i] = value_at(rank.points, to, seconds) - value_at(rank.points, from, seconds);
    }
    const GroupSeconds groups = by_group(spent);
    const double all = std::accumulate(groups.begin(), groups.end(), 0.0);
    if (all <= 0) continue;
    double bottom = y + height;
    for (std::size_t group = 0; group < num_phase_groups; ++group) {
      const double part = groups[group] / all * height;
      if (part < 0.02) continue;
      boxes[group].push_back({scale(from), bottom - part, scale(to) - scale(from) + 0.3, part});
      bottom -= part;
    }
  }
  for (std::size_t group = 0; group < num_phase_groups; ++group) svg.boxes(boxes[group], phase_groups[group].color);
}

}  // namespace

std::string phases_section(const ReportData& data) {
  constexpr std::string_view title = "Where the time of each rank went";
  if (data.timing.empty()) return left_out("phases", title, "These results hold no times of phases: they were merged from shards, or an earlier version wrote them.");
  const std::map<int, Seconds> seconds = seconds_of_ranks(data);
  const std::vector<const RankCourse*> shown = ranks_shown(data, most_bars);
  const double height = std::clamp(640.0 / static_cast<double>(shown.size()), 9.0, 24.0), step = height + std::min(6.0, height / 4);
  double longest = 0;
  for (const auto& [rank, of_rank] : seconds) longest = std::max(longest, std::accumulate(of_rank.begin(), of_rank.end(), 0.0));
  const Box area{label_width, 22, Svg::page_width - label_width - idle_width, step * static_cast<double>(shown.size())};
  Svg svg(Svg::page_width, area.y + area.height + 48, "Stacked bars: seconds of each phase, one bar a rank");
  const Scale scale = time_axis(svg, area, 0, longest, "time in the loop");
  svg.text(Svg::page_width - 4, 14, "idle", Anchor::end);
  const auto label_every = static_cast<std::size_t>(std::ceil(13 / step));
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const RankCourse& rank = *shown[i];
    const double y = area.y + step * static_cast<double>(i);
    const GroupSeconds groups = by_group(seconds.at(rank.rank));
    draw_bar(svg, groups, scale, y, height);
    if (i % label_every != 0) continue;
    svg.text(label_width - 10, y + height / 2 + 4.5, rank_name(rank), Anchor::end);
    svg.text(Svg::page_width - 4, y + height / 2 + 4.5, percent(groups[idle_group] / std::accumulate(groups.begin(), groups.end(), 0.0)),
             Anchor::end);
  }
  std::string caption =
      "Seconds that each rank spent in each phase of its loop, from its start until the last rank was done. Grey is idle: the rank waited for rows "
      "or for "
      "the other ranks.";
  caption += shown_note(data, shown.size());
  return section(data, "phases", title, caption, phase_legend() + "<figure>" + svg.take() + "</figure>" + seconds_table(data, seconds));
}

std::string course_section(const ReportData& data) {
  constexpr std::string_view title = "Phases along the run";
  const double end_s = end_of_series(data);
  if (end_s <= 0) return left_out("course", title, "These results hold no series: they were merged from shards, or an earlier version wrote them.");
  const std::vector<const RankCourse*> shown = ranks_shown(data, most_strips);
  const double height = shown.size() <= 8 ? 44 : 24, step = height + 8;
  const Box area{label_width, 6, Svg::page_width - label_width - 12, step * static_cast<double>(shown.size())};
  Svg svg(Svg::page_width, area.y + area.height + 46, "Strips along time: share of each phase, one strip a rank");
  const Scale scale = time_axis(svg, area, 0, end_s, "time since the start of the loop");
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const double y = area.y + step * static_cast<double>(i);
    svg.text(label_width - 10, y + height / 2 + 4.5, rank_name(*shown[i]), Anchor::end);
    if (shown[i]->points.size() > 1) draw_strip(svg, *shown[i], scale, y, height);
  }
  mark_changes(svg, data, scale, area);
  std::string caption =
      "How each rank shared out its time while the run went on: a column is a slice of the run, its heights are the shares of the phases.";
  caption += shown_note(data, shown.size());
  return section(data, "course", title, caption, phase_legend() + "<figure>" + svg.take() + "</figure>");
}

}  // namespace moebius::app
