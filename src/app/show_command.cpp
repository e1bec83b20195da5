// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "app/commands.hpp"
#include "app/summary.hpp"
#include "io/job_file.hpp"
#include "io/results_reader.hpp"
#include "policy/memory_plan.hpp"
#include "ranks/memory_needs.hpp"

namespace moebius::app {
namespace {

struct ShowArguments {
  std::string target;
  std::vector<std::string> overrides;
  std::int64_t num_rows = 10;
  bool keys = false;
  int num_ranks = 1;
};

/// The plan that `run` would make on this machine; a job whose model is not here is still worth showing.
void show_memory(const Job& job, int num_ranks) {
  try {
    fmt::print("\n{}", policy::describe(ranks::plan_on_one_node(job, num_ranks)));
  } catch (const Failure& failure) {
    fmt::print("\n# no plan of the memory: {}\n", failure.what());
  }
}

/// Of results of slow motion: that they are, and whether their figures count.
void show_emulation(const std::string& directory) {
  const io::ResultsReader reader(directory);
  const auto emulation = reader.attribute("emulation"), valid = reader.attribute("emulation_valid");
  if (!emulation || *emulation == "none") return;
  const io::EmulationTable table = reader.emulation();
  fmt::print("\nemulated: {}\nemulated: {:.6g} s of the device, {:.0f} tokens/s; valid: {}\n", *emulation, table.seconds, table.tokens_per_s, valid.value_or("?"));
}

/// Of results of a job whose experts moved: each change of the placement.
void show_changes(const io::ResultsReader& reader) {
  for (const io::PlacementChange& change : reader.placement_changes()) {
    fmt::print("placement {}: after {:.3f} s {} experts moved ({:.1f} MB), under way for {:.1f} ms; to save {:.3g} s and cost {:.3g} s, saved {}\n", change.generation,
               change.time_s, change.num_moves, 1e-6 * static_cast<double>(change.bytes), 1e3 * change.staging_s, change.predicted_gain_s, change.cost_s,
               std::isnan(change.measured_gain_s) ? std::string("not measured") : fmt::format("{:.3g} s", change.measured_gain_s));
  }
}

ExitCode show(const ShowArguments& arguments) {
  if (arguments.keys) {
    for (const io::KeyDoc& key : io::job_keys()) fmt::print("{:<30} {}\n{:<30}   {}; default {}\n", key.key, key.help, "", key.allowed,
                 key.default_value.empty() ? "none: it must be given" : key.default_value);
    return ExitCode::done;
  }
  if (arguments.target.empty()) {
    throw Failure(ExitCode::bad_usage, "nothing to show (no job file or results directory was named) see `moebius show --help`");
  }
  if (std::filesystem::is_directory(arguments.target)) {
    fmt::print("{}\n{}", describe(summarise_results(arguments.target)), describe_first_rows(arguments.target, arguments.num_rows));
    show_emulation(arguments.target);
    show_changes(io::ResultsReader(arguments.target));
    const std::string overlap = describe_overlap(io::ResultsReader(arguments.target).work());
    if (!overlap.empty()) fmt::print("communication not hidden: {}\n", overlap);
    return ExitCode::done;
  }
  const ResolvedJob resolved = io::read_job(arguments.target, arguments.overrides);
  for (const JobEntry& entry : resolved.entries) {
    fmt::print("{:<30} = {:<32} # {}\n", entry.key, entry.value, entry.origin);
  }
  show_memory(resolved.job, arguments.num_ranks);
  return ExitCode::done;
}

}  // namespace

void add_show_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<ShowArguments>();
  CLI::App* command = app.add_subcommand("show", "A resolved job with the origin of each value, or results");
  command->add_option("target", arguments->target, "Job file, or a results directory");
  command->add_option("--set", arguments->overrides, "Override a key: --set section.key=value (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--rows", arguments->num_rows, "Rows of results to show")->check(CLI::NonNegativeNumber);
  command->add_option("--ranks", arguments->num_ranks, "Plan the memory of a job for this many ranks on this machine")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command->add_flag("--keys", arguments->keys, "List every key of a job file with default and meaning");
  command->footer("Examples:\n"
                  "  moebius show inputs/score.toml --set run.seed=7\n"
                  "  moebius show inputs/score.toml --ranks 8\n"
                  "  moebius show results/score --rows 20\n"
                  "  moebius show --keys");
  command->callback([arguments, &exit_code] {
    if (is_first_process()) exit_code = static_cast<int>(guarded([&] { return show(*arguments); }));
  });
}

}  // namespace moebius::app
