// SPDX-License-Identifier: Apache-2.0
// A few moments of the run with everything that each rank did in them.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "app/report/colors.hpp"
#include "app/report/figures.hpp"
#include "app/report/markup.hpp"
#include "app/report/svg.hpp"

namespace moebius::app {
namespace {

constexpr std::string_view title = "Timeline in detail";
constexpr double label_width = 150, row_height = 40;
constexpr std::size_t most_ranks = 16;
/// Intervals of the busiest rank: as many as can be told apart.
constexpr std::size_t most_intervals = 120;

struct Window {
  double begin_s = 0, end_s = 0;
};

/// Around the middle of what all ranks recorded.
std::optional<Window> window_of(const std::vector<RankCourse>& ranks) {
  double end_s = 0;
  bool any = false;
  for (const RankCourse& rank : ranks) {
    if (rank.intervals.empty()) continue;
    end_s = any ? std::min(end_s, rank.intervals.back().end_s) : rank.intervals.back().end_s;
    any = true;
  }
  if (!any) return {};
  const double middle_s = end_s / 2;
  double length_s = end_s;
  for (const RankCourse& rank : ranks) {
    if (rank.intervals.empty()) continue;
    const auto middle = static_cast<std::size_t>(std::ranges::lower_bound(rank.intervals, middle_s, {}, &Interval::end_s) - rank.intervals.begin());
    const std::size_t first = middle - std::min(middle, most_intervals / 2), last = std::min(middle + most_intervals / 2, rank.intervals.size() - 1);
    length_s = std::min(length_s, rank.intervals[last].end_s - rank.intervals[first].begin_s);
  }
  return Window{std::max(0.0, middle_s - length_s / 2), middle_s + length_s / 2};
}

std::string describe(const Interval& interval) {
  std::string text = fmt::format("{}, {}", to_string(interval.phase), duration(interval.end_s - interval.begin_s));
  if (interval.stage.layer >= 0) text += fmt::format(", layer {}", interval.stage.layer);
  if (interval.stage.place >= 0) text += fmt::format(", expert at place {}", interval.stage.place);
  if (interval.rows > 0) text += fmt::format(", {} rows", interval.rows);
  return text;
}

void draw_rank(Svg& svg, const RankCourse& rank, const Scale& scale, double y) {
  const auto first = std::ranges::upper_bound(rank.intervals, scale.from, {}, &Interval::end_s);
  for (auto interval = first; interval != rank.intervals.end() && interval->begin_s < scale.to; ++interval) {
    const double begin = scale(std::max(interval->begin_s, scale.from)), end = scale(std::min(interval->end_s, scale.to));
    const std::size_t group = group_of(interval->phase);
    svg.rect({begin, y, std::max(end - begin, 0.35), row_height - 10}, phase_groups[group].color, describe(*interval));
    if (interval->stage.layer >= 0 && end - begin >= 24 && group != idle_group) {
      svg.text((begin + end) / 2, y + (row_height - 10) / 2 + 4, fmt::format("L{}", interval->stage.layer), Anchor::middle, text_class_on(group));
    }
  }
}

/// What share of the loop the recording covers, where it was full before the end.
std::string incomplete_note(const ReportData& data) {
  std::int64_t left_out_of_all = 0;
  for (const io::RankWork& work : data.work) left_out_of_all += work.intervals_left_out;
  if (left_out_of_all == 0) return "";
  double from = 1e300;
  for (const RankCourse& rank : data.ranks) {
    if (!rank.intervals.empty()) from = std::min(from, rank.intervals.back().end_s);
  }
  return fmt::format(" The recording was full before the end: {} intervals are missing, the first after {}.", whole_number(left_out_of_all),
                     duration(from));
}

}  // namespace

std::string timeline_section(const ReportData& data) {
  const std::optional<Window> window = window_of(data.ranks);
  if (!window)
    return left_out("timeline", title,
                    "No timeline was recorded. Run the job with <code>--set run.timeline=true</code> to see every interval of every rank.");
  const std::vector<const RankCourse*> shown = ranks_shown(data, most_ranks);
  const Box area{label_width, 4, Svg::page_width - label_width - 14, row_height * static_cast<double>(shown.size())};
  Svg svg(Svg::page_width, area.y + area.height + 46, "Intervals of each rank along time");
  const Scale scale = time_axis(svg, area, window->begin_s, window->end_s, "time since the start of the loop");
  for (std::size_t i = 0; i < shown.size(); ++i) {
    const double y = area.y + row_height * static_cast<double>(i);
    svg.text(label_width - 10, y + row_height / 2, rank_name(*shown[i]), Anchor::end);
    draw_rank(svg, *shown[i], scale, y);
  }
  std::string caption = fmt::format(
      "{} from the middle of the run, with every interval; L2 is layer 2, and a pointer that rests on a box shows its rows and its length.{}",
      duration(window->end_s - window->begin_s), incomplete_note(data));
  caption += shown_note(data, shown.size());
  return section(data, "timeline", title, caption, phase_legend() + "<figure>" + svg.take() + "</figure>");
}

}  // namespace moebius::app
