// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>

#include "app/commands.hpp"
#include "app/report/page.hpp"
#include "app/report/report_data.hpp"
#include "app/report/trace.hpp"

namespace moebius::app {
namespace {

struct ReportArguments {
  std::string directory, output, trace;
};

void write_file(const std::filesystem::path& file, const std::function<void(std::ostream&)>& write) {
  std::ofstream stream(file, std::ios::binary | std::ios::trunc);
  write(stream);
  stream.close();
  if (!stream)
    throw Failure{ExitCode::bad_usage, fmt::format("cannot write {} (the folder or the disk refuses) name another file with -o", file.native())};
}

ExitCode report(const ReportArguments& arguments) {
  const std::filesystem::path file =
      arguments.output.empty() ? std::filesystem::path(arguments.directory) / "report.html" : std::filesystem::path(arguments.output);
  const ReportData data = read_report_data(arguments.directory);
  if (!arguments.trace.empty()) {
    write_file(arguments.trace, [&](std::ostream& out) { write_trace(out, data); });
    fmt::print(stderr, "trace: {} (open it with Perfetto or chrome://tracing)\n", arguments.trace);
  }
  const std::string page = report_page(data);
  write_file(file, [&](std::ostream& out) { out << page; });
  fmt::print(stderr, "report: {} ({:.1f} MB; open it in a browser, it needs no network)\n", file.native(), static_cast<double>(page.size()) * 1e-6);
  return ExitCode::done;
}

}  // namespace

void add_report_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<ReportArguments>();
  CLI::App* command = app.add_subcommand("report", "One HTML page with the figures of a run: phases, queues, throughput, loads, timeline");
  command->add_option("directory", arguments->directory, "Results directory of a run that has ended")->required();
  command->add_option("-o,--output", arguments->output, "File to write; default: report.html in the results directory");
  command->add_option("--trace", arguments->trace, "Write the recorded timeline to this file too, for Perfetto or chrome://tracing");
  command->footer(
      "The page stands alone: no network, no script. A job with run.timeline = true adds every interval of every rank.\n"
      "Example:\n"
      "  mpirun -n 4 moebius run inputs/score.toml --set run.timeline=true\n"
      "  moebius report results/score -o score.html --trace score-trace.json");
  command->callback([arguments, &exit_code] {
    if (is_first_process()) exit_code = static_cast<int>(guarded([&] { return report(*arguments); }));
  });
}

}  // namespace moebius::app
