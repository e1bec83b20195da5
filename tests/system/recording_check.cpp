// SPDX-License-Identifier: Apache-2.0
// Checks the recordings in stored results against each other and against /ranks/timing.
//   recording_check RESULTS (with | without | moving)      is there a timeline, must there be none, or is it of a run in which
//       experts moved? Then no rank spends longer on that at a time than nine of ten of its expert steps (calls in a row) last at most.
// Prints what does not hold; exit code 1 when something does not.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "io/results_reader.hpp"

namespace {

using namespace moebius;
using Seconds = std::array<double, num_phases>;

int failures = 0;
void expect(bool holds, const std::string& what) {
  if (holds) return;
  ++failures;
  fmt::print("  {}\n", what);
}

/// Sums of two clocks that were read in different order of additions.
bool near(double a, double b) { return std::abs(a - b) <= 1e-6 + 1e-9 * std::abs(b); }

template <class Record>
std::map<int, std::vector<Record>> by_rank(const std::vector<Record>& records) {
  std::map<int, std::vector<Record>> ranks;
  for (const Record& record : records) ranks[record.rank].push_back(record);
  return ranks;
}

double sum(const Seconds& seconds) {
  double total = 0;
  for (const double one : seconds) total += one;
  return total;
}

/// What ends with the loop is in the timing from before it too.
bool begins_before_the_loop(Phase phase) { return phase == Phase::load || phase == Phase::idle; }

void check_series(int rank, const std::vector<io::RankSeriesPoint>& points, const io::RankWork& work, const Seconds& timing) {
  expect(points.size() >= 2 && points.size() <= 601, fmt::format("rank {}: {} points", rank, points.size()));
  const double begin_s = points.front().point.time_s;
  for (std::size_t i = 0; i < points.size(); ++i) {
    const SeriesPoint& now = points[i].point;
    expect(near(sum(now.seconds), now.time_s - begin_s), fmt::format("rank {} point {}: its phases do not add up to its time", rank, i));
    expect(now.queued_tokens >= 0 && now.queued_rows >= 0, fmt::format("rank {} point {}: a queue is shorter than empty", rank, i));
    if (i == 0) continue;
    const SeriesPoint& before = points[i - 1].point;
    bool grows = before.time_s <= now.time_s && before.tokens_fed <= now.tokens_fed && before.tokens_out <= now.tokens_out && before.expert_rows <= now.expert_rows;
    for (std::size_t p = 0; p < num_phases; ++p) grows = grows && before.seconds[p] <= now.seconds[p];
    expect(grows, fmt::format("rank {} point {}: something fell", rank, i));
  }
  const SeriesPoint& last = points.back().point;
  expect(last.tokens_fed == work.tokens_fed && last.tokens_out == work.tokens_out && last.expert_rows == work.expert_rows,
         fmt::format("rank {}: the last point does not hold all that was done", rank));
  expect(last.queued_tokens == 0 && last.queued_rows == 0, fmt::format("rank {}: rows are left in the queues", rank));
  for (std::size_t p = 0; p < num_phases; ++p) {
    if (!begins_before_the_loop(static_cast<Phase>(p))) {
      expect(near(last.seconds[p], timing[p]), fmt::format("rank {}: seconds of {} differ from those of the series", rank, to_string(static_cast<Phase>(p))));
    }
  }
}

void check_timeline(int rank, const std::vector<io::RankInterval>& intervals, const io::RankWork& work, double series_s,
                    const Seconds& timing) {
  Seconds seconds{};
  std::int64_t expert_rows = 0, expert_calls = 0, num_waiting = 0;
  for (std::size_t i = 0; i < intervals.size(); ++i) {
    const Interval& now = intervals[i].interval;
    seconds[static_cast<std::size_t>(now.phase)] += now.end_s - now.begin_s;
    expect(now.begin_s <= now.end_s && (i == 0 || now.begin_s == intervals[i - 1].interval.end_s),
           fmt::format("rank {} interval {}: a gap or an overlap", rank, i));
    num_waiting += i > 0 && now.phase == Phase::idle && intervals[i - 1].interval.phase == Phase::idle;
    const bool has_layer = now.phase == Phase::attention || now.phase == Phase::router || now.phase == Phase::combine;
    if (now.phase == Phase::router || now.phase == Phase::combine || now.phase == Phase::lm_head) {
      expect(now.stage.layer >= 0, fmt::format("rank {} interval {}: {} in no layer", rank, i, to_string(now.phase)));
    }
    expect(now.phase != Phase::expert || (now.stage.layer >= 0 && now.stage.place >= 0), fmt::format("rank {} interval {}: experts of no place", rank, i));
    expect(!has_layer || now.stage.place < 0, fmt::format("rank {} interval {}: attention in a place of experts", rank, i));
    if (now.phase == Phase::expert) {
      ++expert_calls;
      expert_rows += now.rows;
    }
  }
  expect(num_waiting == 0, fmt::format("rank {}: {} idle intervals follow idle ones", rank, num_waiting));
  expect(expert_calls == work.expert_calls && expert_rows == work.expert_rows,
         fmt::format("rank {}: {} expert calls with {} rows, not {} with {}", rank, expert_calls, expert_rows, work.expert_calls, work.expert_rows));
  const double wall_s = intervals.back().interval.end_s - intervals.front().interval.begin_s;
  expect(near(wall_s, series_s), fmt::format("rank {}: {} s in the timeline, {} in the series", rank, wall_s, series_s));
  expect(wall_s >= 0.99 * work.loop_s, fmt::format("rank {}: {} s of a loop of {} are recorded", rank, wall_s, work.loop_s));
  for (std::size_t p = 0; p < num_phases; ++p) {
    if (!begins_before_the_loop(static_cast<Phase>(p))) {
      expect(near(seconds[p], timing[p]), fmt::format("rank {}: {} s of {} in the timeline, {} in the timing", rank, seconds[p], to_string(static_cast<Phase>(p)), timing[p]));
    }
  }
}

void check_stalls(int rank, const std::vector<io::RankInterval>& intervals) {
  double stall_s = 0, step_s = 0;
  std::vector<double> steps_s;
  for (const io::RankInterval& one : intervals) {
    const Interval& now = one.interval;
    if (now.phase == Phase::rebalance) stall_s = std::max(stall_s, now.end_s - now.begin_s);
    if (now.phase == Phase::expert) {
      step_s += now.end_s - now.begin_s;
    } else if (step_s > 0) {
      steps_s.push_back(step_s);
      step_s = 0;
    }
  }
  std::ranges::sort(steps_s);
  expect(stall_s > 0, fmt::format("rank {}: no time for moving experts is recorded", rank));
  if (steps_s.empty()) return;
  const double usual_s = steps_s[steps_s.size() * 9 / 10];
  fmt::print("  rank {}: at most {:.1f} us at a time for moving experts, nine of ten expert steps within {:.1f} us\n", rank, 1e6 * stall_s, 1e6 * usual_s);
  expect(stall_s < usual_s, fmt::format("rank {}: experts that move stall it for longer than an expert step", rank));
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const io::ResultsReader reader(argv[1]);
  const bool with_timeline = std::string(argv[2]) != "without", moving = std::string(argv[2]) == "moving";
  std::map<int, Seconds> timing;
  for (const io::RankTiming& row : reader.timing()) timing[row.rank][static_cast<std::size_t>(row.phase)] = row.total.seconds;
  auto series = by_rank(reader.series());
  auto timeline = by_rank(reader.timeline());
  const std::vector<io::RankWork> work = reader.work();
  expect(work.size() == timing.size() && !work.empty() && series.size() == work.size(), "not every rank has its rows in every table");
  expect(timeline.size() == (with_timeline ? work.size() : 0), "there is a timeline where none was asked for, or none where one was");
  for (const io::RankWork& rank : work) {
    if (series[rank.rank].empty()) continue;
    check_series(rank.rank, series[rank.rank], rank, timing[rank.rank]);
    if (with_timeline && !timeline[rank.rank].empty()) check_timeline(rank.rank, timeline[rank.rank], rank, series[rank.rank].back().point.time_s - series[rank.rank].front().point.time_s,
                                                                       timing[rank.rank]);
    if (moving) check_stalls(rank.rank, timeline[rank.rank]);
    expect(rank.intervals_left_out == 0, "intervals were left out of a short run");
  }
  return failures == 0 ? 0 : 1;
}
