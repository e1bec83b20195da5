// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "app/commands.hpp"
#include "io/job_file.hpp"
#include "io/model_files.hpp"
#include "io/placement_file.hpp"
#include "io/results_reader.hpp"
#include "ranks/expert_plan.hpp"
#include "ranks/planner_comparison.hpp"

namespace moebius::app {
namespace {

struct PlaceArguments {
  std::string results, out;
  std::vector<std::string> overrides;
  int num_expert_ranks = 0;
};

io::PlacementFile as_file(const ranks::PlannerResult& result, const ModelConfig& config, int num_ranks) {
  io::PlacementFile file{.planner = ranks::full_name(result.planner), .num_experts = config.num_experts, .num_ranks = num_ranks, .expert = {}};
  for (const policy::LayerMap& map : result.maps) {
    auto& ranks = file.expert.emplace_back();
    for (int rank = 0; rank < map.num_ranks && map.num_places > 0; ++rank) {
      auto& places = ranks.emplace_back();
      for (int place = 0; place < map.num_places && map.at(rank, place) >= 0; ++place) places.push_back(map.at(rank, place));
    }
  }
  return file;
}

ExitCode place(const PlaceArguments& arguments) {
  const io::ResultsReader reader(arguments.results);
  const auto job_toml = reader.attribute("job_toml");
  if (!job_toml) {
    throw Failure{ExitCode::unreadable_input, fmt::format("{} does not say which job it is of (there is no results.h5, or no job_toml in it) name the "
                                                          "results of a run that has ended",
                                                          arguments.results)};
  }
  const ResolvedJob resolved = io::read_job_text(*job_toml, arguments.results, arguments.overrides);
  const ModelConfig config = io::read_model_config(resolved.job.model.path);
  const auto comparison =
      ranks::compare_planners(resolved.job, config, ranks::read_trace(arguments.results, config), arguments.num_expert_ranks);
  fmt::print("{} experts in {} layers on {} expert ranks, {:.4g} physical experts for each; emulated slowdown: {}\n{}", config.num_experts,
             config.num_layers, arguments.num_expert_ranks, resolved.job.replicas.ratio,
             ranks::describe_slowdown(resolved.job, arguments.num_expert_ranks), describe(comparison));
  if (arguments.out.empty()) return ExitCode::done;
  const auto wanted = std::ranges::find(comparison.planners, resolved.job.placement.planner, &ranks::PlannerResult::planner);
  if (!wanted->refusal.empty()) throw Failure{ExitCode::bad_usage, wanted->refusal};
  io::write_placement_file(arguments.out, as_file(*wanted, config, arguments.num_expert_ranks));
  fmt::print(stderr, "{}: the placement of planner {}; a job loads it with --set placement.file={}\n", arguments.out,
             ranks::full_name(wanted->planner), arguments.out);
  return ExitCode::done;
}

}  // namespace

void add_place_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<PlaceArguments>();
  CLI::App* command = app.add_subcommand("place", "Compare planners of expert placements on the routing trace of a run");
  command->add_option("results", arguments->results, "Results of a run with placement.record_trace = true")->required();
  command->add_option("--expert-ranks", arguments->num_expert_ranks, "Plan for this many expert ranks")->required()->check(CLI::Range(1, 1 << 20));
  command->add_option("--set", arguments->overrides, "Override a key of the job of these results: --set section.key=value (repeatable)")
      ->allow_extra_args(false);
  command->add_option("--out", arguments->out, "Write the placement of placement.planner to this file");
  command->footer("Examples:\n"
                  "  moebius run inputs/score.toml --set placement.record_trace=true --set output.path=results/trace\n"
                  "  moebius place results/trace --expert-ranks 4 --set placement.profile=speeds.json\n"
                  "  moebius place results/trace --expert-ranks 4 --set placement.emulated_slowdown=[1,1,1,2] \\\n"
                  "      --set placement.planner=gem --out gem.json\n"
                  "  mpirun -n 8 moebius run inputs/score.toml --set placement.file=gem.json");
  command->callback([arguments, &exit_code] {
    if (is_first_process()) exit_code = static_cast<int>(guarded([&] { return place(*arguments); }));
  });
}

}  // namespace moebius::app
