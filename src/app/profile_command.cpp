// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <memory>
#include <string>
#include <vector>

#include "app/commands.hpp"
#include "app/mpi_program.hpp"
#include "policy/speed_curve.hpp"
#include "ranks/agreement.hpp"
#include "ranks/speed_profiler.hpp"

namespace moebius::app {
namespace {

struct ProfileArguments {
  std::string job_file, out;
  std::vector<std::string> overrides;
  ranks::ProfileOptions options;
};

void show(const io::SpeedProfile& profile) {
  fmt::print("{:>12} {:<20} {:>12} {:>12} {:>14} {:>10}\n", "expert rank", "node", "1 row, us", "rows", "that many, us", "knee, rows");
  for (std::size_t rank = 0; rank < profile.curves.size(); ++rank) {
    std::vector<policy::SpeedCurve::Point> points;
    for (const auto& point : profile.curves[rank]) points.push_back({point.rows, point.seconds});
    if (points.empty()) continue;
    const policy::SpeedCurve curve(points);
    fmt::print("{:>12} {:<20} {:>12.2f} {:>12} {:>14.2f} {:>10.1f}\n", rank, profile.node[rank], 1e6 * curve.seconds(1), points.back().rows,
               1e6 * points.back().seconds, curve.knee_rows());
  }
}

ExitCode profile(comm::Session& session, const ProfileArguments& arguments) {
  const ResolvedJob resolved = read_job_together(session, arguments.job_file, arguments.overrides);
  const io::SpeedProfile profile = ranks::profile_ranks(session, resolved.job, arguments.options);
  ranks::together(session, [&] {
    if (session.rank() != RankId(0)) return;
    show(profile);
    if (!arguments.out.empty()) io::write_speed_profile(arguments.out, profile);
  });
  return ExitCode::done;
}

}  // namespace

void add_profile_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<ProfileArguments>();
  CLI::App* command = app.add_subcommand("profile", "Measure how fast the expert ranks of a job are, all at once");
  command->add_option("job", arguments->job_file, "Job file (TOML)")->required();
  command->add_option("--set", arguments->overrides, "Override a key: --set section.key=value (repeatable)")->allow_extra_args(false);
  command->add_option("--out", arguments->out, "Write the speeds to this file, for placement.profile");
  command->add_option("--repeats", arguments->options.num_repeats, "Calls per number of rows; the median counts")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->footer("Example:\n"
                  "  mpirun -n 4 moebius profile inputs/score.toml --out speeds.json");
  command->callback([arguments, &exit_code] {
    exit_code = run_mpi_program([&](comm::Session& session) { return profile(session, *arguments); });
  });
}

}  // namespace moebius::app
