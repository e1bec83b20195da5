// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "app/commands.hpp"
#include "app/mpi_program.hpp"
#include "app/report/profile_page.hpp"
#include "base/clock.hpp"
#include "base/failure.hpp"
#include "policy/speed_curve.hpp"
#include "ranks/agreement.hpp"
#include "ranks/speed_profiler.hpp"
#include "ranks/stage_profiler.hpp"

namespace moebius::app {
namespace {

struct ProfileArguments {
  std::string job_file, out, html;
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

/// Alpha and beta of each stage, and how well they fit.
void show(const std::vector<ranks::MeasuredStage>& stages) {
  fmt::print("\n{:<20} {:>8} {:>10} {:>12}  {}\n", "stage", "samples", "R^2", "worst error", "seconds");
  for (const ranks::MeasuredStage& stage : stages) {
    std::string line;
    for (std::size_t t = 0; t < stage.terms.size(); ++t) {
      line += fmt::format("{}{:.3g}{}", t == 0 ? "" : " + ", stage.fit.coefficients[t], t == 0 ? "" : " x " + stage.terms[t]);
    }
    fmt::print("{:<20} {:>8} {:>10.4f} {:>10.1f} %  {}\n", stage.name, stage.samples.size(), stage.fit.r_squared, 100 * stage.fit.worst_residual, line);
  }
}

std::vector<FittedCurve> curves_of(const std::vector<ranks::MeasuredStage>& stages) {
  std::vector<FittedCurve> curves;
  for (const ranks::MeasuredStage& stage : stages) {
    FittedCurve& curve = curves.emplace_back(FittedCurve{.name = stage.name, .r_squared = stage.fit.r_squared, .points = {}});
    for (const policy::CostSample& sample : stage.samples) curve.points.push_back({stage.fit.at(sample.terms), sample.time_s});
  }
  return curves;
}

ExitCode profile(comm::Session& session, const ProfileArguments& arguments) {
  const ResolvedJob resolved = read_job_together(session, arguments.job_file, arguments.overrides);
  const double begin_s = now_s();
  io::SpeedProfile profile = ranks::profile_ranks(session, resolved.job, arguments.options);
  const auto stages = ranks::profile_stages(session, resolved.job, profile, {});
  ranks::together(session, [&] {
    if (session.rank() != RankId(0)) return;
    profile.costs = ranks::costs_of(stages);
    show(profile);
    show(stages);
    fmt::print(stderr, "measured in {:.1f} s\n", now_s() - begin_s);
    if (!arguments.html.empty()) {
      std::ofstream file(arguments.html);
      file << profile_page(resolved.job.model.path, to_string(resolved.job.model.compute), curves_of(stages)) << std::flush;
      if (!file) throw Failure{ExitCode::unreadable_input, fmt::format("cannot write {} (see the file system) name another file with --html", arguments.html)};
    }
    if (!arguments.out.empty()) io::write_speed_profile(arguments.out, profile);
  });
  return ExitCode::done;
}

}  // namespace

void add_profile_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<ProfileArguments>();
  CLI::App* command = app.add_subcommand("profile", "Measure how fast the expert ranks of a job are, all at once, and what the other stages and the links cost");
  command->add_option("job", arguments->job_file, "Job file (TOML)")->required();
  command->add_option("--set", arguments->overrides, "Override a key: --set section.key=value (repeatable)")->allow_extra_args(false);
  command->add_option("--out", arguments->out, "Write speeds and costs to this file, for placement.profile and plan.profile");
  command->add_option("--html", arguments->html, "Write a page with measured against fitted times of each stage");
  command->add_option("--repeats", arguments->options.num_repeats, "Calls per number of rows; the median counts")
      ->check(CLI::Range(1, 1'000'000))
      ->capture_default_str();
  command->footer("Example:\n"
                  "  mpirun -n 4 moebius profile inputs/score.toml --out speeds.json --html fit.html");
  command->callback([arguments, &exit_code] {
    exit_code = run_mpi_program([&](comm::Session& session) { return profile(session, *arguments); });
  });
}

}  // namespace moebius::app
