// SPDX-License-Identifier: Apache-2.0
#include "app/report/trace.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "app/report/figures.hpp"
#include "base/failure.hpp"

namespace moebius::app {
namespace {

double microseconds(double seconds) { return seconds * 1e6; }

class Events {
 public:
  explicit Events(std::ostream& out) : out_(out) { out_ << "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n"; }
  void end() { out_ << "\n]}\n"; }

  void add_name(int rank, const std::string& role) {
    add(fmt::format(R"({{"ph":"M","name":"thread_name","pid":0,"tid":{0},"args":{{"name":"rank {0} {1}"}}}})", rank, role));
  }
  void add_interval(int rank, const Interval& interval) {
    add(fmt::format(R"({{"ph":"X","name":"{}","pid":0,"tid":{},"ts":{:.3f},"dur":{:.3f},"args":{{"layer":{},"place":{},"micro_batch":{},"rows":{}}}}})",
                    to_string(interval.phase), rank, microseconds(interval.begin_s), microseconds(interval.end_s - interval.begin_s), interval.stage.layer,
                    interval.stage.place, interval.stage.micro_batch, interval.rows));
  }
  /// Messages overlap, so each is a pair of asynchronous events: a row of its own where the rank has several under way.
  void add_transfer(int rank, const Transfer& transfer) {
    const char* name = transfer.call >= 0 ? "outputs" : "rows to experts";
    const std::int64_t id = num_transfers_++;
    add(fmt::format(R"({{"ph":"b","cat":"to rank {1}","name":"{0}","id":{2},"pid":0,"tid":{1},"ts":{3:.3f},)"
                    R"("args":{{"from":{4},"layer":{5},"micro_batch":{6},"part":{7},"pairs":{8},"bytes":{9}}}}})",
                    name, rank, id, microseconds(transfer.begin_s), transfer.from, transfer.layer, transfer.micro_batch, transfer.part, transfer.pairs,
                    transfer.bytes));
    add(fmt::format(R"({{"ph":"e","cat":"to rank {1}","name":"{0}","id":{2},"pid":0,"tid":{1},"ts":{3:.3f}}})", name, rank, id,
                    microseconds(transfer.end_s)));
  }

 private:
  void add(const std::string& event) {
    out_ << (is_first_ ? "" : ",\n") << event;
    is_first_ = false;
  }

  std::ostream& out_;
  bool is_first_ = true;
  std::int64_t num_transfers_ = 0;
};

}  // namespace

void write_trace(std::ostream& out, const ReportData& data) {
  if (std::ranges::all_of(data.ranks, [](const RankCourse& rank) { return rank.intervals.empty(); })) {
    throw Failure{ExitCode::bad_usage,
                  fmt::format("cannot write a trace of {} (no timeline was recorded) run the job with --set run.timeline=true", data.folder)};
  }
  Events events(out);
  for (const RankCourse& rank : data.ranks) {
    // Roles are words of this program, but the file may come from anywhere.
    std::string role = rank.role;
    std::erase_if(role, [](char c) { return c < 'a' || c > 'z'; });
    events.add_name(rank.rank, role);
    for (const Interval& interval : rank.intervals) events.add_interval(rank.rank, interval);
    for (const Transfer& transfer : rank.transfers) events.add_transfer(rank.rank, transfer);
  }
  events.end();
}

}  // namespace moebius::app
