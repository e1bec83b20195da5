// SPDX-License-Identifier: Apache-2.0
#include "app/report/trace.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "app/report/figures.hpp"
#include "base/failure.hpp"

namespace moebius::app {

void write_trace(std::ostream& out, const ReportData& data) {
  if (std::ranges::all_of(data.ranks, [](const RankCourse& rank) { return rank.intervals.empty(); })) {
    throw Failure{ExitCode::bad_usage,
                  fmt::format("cannot write a trace of {} (no timeline was recorded) run the job with --set run.timeline=true", data.folder)};
  }
  out << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  const char* separator = "";
  for (const RankCourse& rank : data.ranks) {
    // Roles are words of this program, but the file may come from anywhere.
    std::string role = rank.role;
    std::erase_if(role, [](char c) { return c < 'a' || c > 'z'; });
    out << separator
        << fmt::format("{{\"ph\":\"M\",\"name\":\"thread_name\",\"pid\":0,\"tid\":{0},\"args\":{{\"name\":\"rank {0} {1}\"}}}}", rank.rank, role);
    separator = ",\n";
    for (const Interval& interval : rank.intervals) {
      out << separator
          << fmt::format(
                 "{{\"ph\":\"X\",\"name\":\"{}\",\"pid\":0,\"tid\":{},\"ts\":{:.3f},\"dur\":{:.3f},\"args\":{{\"layer\":{},\"place\":{},\"rows\":{}}}"
                 "}}",
                 to_string(interval.phase), rank.rank, interval.begin_s * 1e6, (interval.end_s - interval.begin_s) * 1e6, interval.stage.layer,
                 interval.stage.place, interval.rows);
    }
  }
  out << "\n]}\n";
}

}  // namespace moebius::app
