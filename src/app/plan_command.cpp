// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "app/commands.hpp"
#include "io/job_file.hpp"
#include "ranks/input_shapes.hpp"
#include "ranks/job_plan.hpp"

namespace moebius::app {
namespace {

constexpr double gib = 1024.0 * 1024.0 * 1024.0;

struct PlanArguments {
  std::string job_file;
  std::vector<std::string> overrides;
  std::string profile;
  int num_ranks = 0;
  ranks::PlanOptions options;
  bool json = false;
};

std::string parameters_of(const policy::PlannedMode& plan) {
  if (!policy::is_pipeline(plan.mode)) return "";
  const policy::PipelineChoice& pipeline = plan.main_phase().pipeline;
  return fmt::format("r1 {}, r2 {}, {}", pipeline.r1, pipeline.r2, to_string(pipeline.order));
}

/// Two columns for split ways: a rank with attention, and one with experts.
void print_memory(const ranks::JobPlan& plan) {
  fmt::print("\nGiB of a rank with attention / with experts, by kind:\n{:<12}", "way");
  std::vector<std::string> kinds;
  for (const policy::PlannedMode& mode : plan.modes) {
    const policy::RoleNeeds needs = policy::needs_of(plan.question.memory, mode.counts);
    for (const auto* role : {&needs.attention, &needs.experts}) {
      for (const policy::MemoryNeed& need : *role) {
        if (std::ranges::find(kinds, need.kind) == kinds.end()) kinds.push_back(need.kind);
      }
    }
  }
  for (const std::string& kind : kinds) fmt::print(" {:>17}", kind);
  fmt::print(" {:>17}\n", "all");
  const auto bytes_of = [](const std::vector<policy::MemoryNeed>& needs, const std::string& kind) {
    const auto found = std::ranges::find(needs, kind, &policy::MemoryNeed::kind);
    return found == needs.end() ? 0.0 : static_cast<double>(found->bytes) / gib;
  };
  for (const policy::PlannedMode& mode : plan.modes) {
    const policy::RoleNeeds needs = policy::needs_of(plan.question.memory, mode.counts);
    const bool split = policy::is_split(mode.mode);
    const auto cell = [&](double attention, double experts) { return split ? fmt::format("{:.2f} / {:.2f}", attention, experts) : fmt::format("{:.2f}", attention); };
    fmt::print("{:<12}", to_string(mode.mode));
    for (const std::string& kind : kinds) fmt::print(" {:>17}", cell(bytes_of(needs.attention, kind), bytes_of(needs.experts, kind)));
    fmt::print(" {:>17}\n", cell(static_cast<double>(policy::sum_of(needs.attention)) / gib, static_cast<double>(policy::sum_of(needs.experts)) / gib));
  }
}

void print_table(const ranks::JobPlan& plan) {
  const policy::PlanQuestion& question = plan.question;
  fmt::print("{} ranks: {}\nmodel {}; {}\n\n", question.num_ranks, plan.devices, question.times.model().name, plan.work);
  fmt::print("{:<12} {:>9} {:>10} {:>5} {:>14} {:>10} {:>14} {:>12}  {:<10} {}\n", "way", "A:E", "GiB/rank", "fits", "link MB/token", "ms/layer", "tokens/s", "job, s",
             "busiest", "parameters");
  for (const policy::PlannedMode& mode : plan.modes) {
    const char* bound = policy::is_bound(mode.mode) ? "<= " : "";
    fmt::print("{:<12} {:>9} {:>10.2f} {:>5} {:>14.4f} {:>10.4g} {:>14} {:>12}  {:<10} {}\n", to_string(mode.mode),
               fmt::format("{}:{}", mode.counts.attention, mode.counts.experts), static_cast<double>(mode.rank_bytes) / gib, mode.fits ? "yes" : "no",
               mode.link_bytes_per_token / 1e6, mode.layer_s * 1e3, fmt::format("{}{:.0f}", bound, mode.tokens_per_s),
               fmt::format("{}{:.4g}", *bound != 0 ? ">= " : "", mode.job_s), mode.busiest, parameters_of(mode));
  }
  print_memory(plan);
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += c;
  }
  return result + "\"";
}

std::string json_of(const std::vector<policy::MemoryNeed>& needs) {
  std::string text;
  for (const policy::MemoryNeed& need : needs) text += fmt::format("{}{}: {}", text.empty() ? "" : ", ", quoted(need.kind), need.bytes);
  return "{" + text + "}";
}

std::string json_of(const policy::PlannedPhase& phase) {
  std::string text = fmt::format("{{\"batch_tokens\": {:.6g}, \"batches\": {:.6g}, \"batch_s\": {:.6e}", phase.batch.tokens, phase.batch.count, phase.batch_s);
  if (phase.pipeline.samples > 0) {
    text += fmt::format(", \"r1\": {}, \"r2\": {}, \"order\": \"{}\"", phase.pipeline.r1, phase.pipeline.r2, to_string(phase.pipeline.order));
  }
  return text + "}";
}

void print_json(const ranks::JobPlan& plan, const std::string& advice, const std::vector<std::string>& changes) {
  fmt::print("{{\"ranks\": {}, \"devices\": {}, \"work\": {}, \"ways\": [", plan.question.num_ranks, quoted(plan.devices), quoted(plan.work));
  const char* separator = "";
  for (const policy::PlannedMode& mode : plan.modes) {
    const policy::RoleNeeds needs = policy::needs_of(plan.question.memory, mode.counts);
    std::string phases;
    for (const policy::PlannedPhase& phase : mode.phases) phases += (phases.empty() ? "" : ", ") + json_of(phase);
    fmt::print("{}{{\"way\": \"{}\", \"bound\": {}, \"allowed\": {}, \"attention_ranks\": {}, \"expert_ranks\": {}, \"rank_bytes\": {}, \"fits\": {}, "
               "\"link_bytes_per_token\": {:.1f}, \"layer_s\": {:.6e}, \"tokens_per_s\": {:.6e}, \"job_s\": {:.6e}, \"busiest\": \"{}\", "
               "\"attention_rank_bytes\": {}, \"expert_rank_bytes\": {}, \"phases\": [{}]}}",
               separator, to_string(mode.mode), policy::is_bound(mode.mode), std::ranges::find(plan.allowed, mode.mode) != plan.allowed.end(), mode.counts.attention,
               mode.counts.experts, mode.rank_bytes, mode.fits, mode.link_bytes_per_token, mode.layer_s, mode.tokens_per_s, mode.job_s, mode.busiest,
               json_of(needs.attention), json_of(needs.experts), phases);
    separator = ", ";
  }
  std::string sentences;
  for (const std::string& change : changes) sentences += (sentences.empty() ? "" : ", ") + quoted(change);
  fmt::print("], \"best\": {}, \"recommendation\": {}, \"changes\": [{}]}}\n", quoted(to_string(plan.overall->mode)), quoted(advice), sentences);
}

ExitCode plan(const PlanArguments& arguments) {
  std::vector<std::string> overrides = arguments.overrides;
  if (!arguments.profile.empty()) overrides.push_back("plan.profile=" + arguments.profile);
  const ResolvedJob resolved = io::read_job(arguments.job_file, overrides);
  const ranks::JobPlan plan = ranks::plan_job(resolved, arguments.num_ranks, arguments.options);
  if (!plan.overall) {
    if (!arguments.json) print_table(plan);
    throw Failure{ExitCode::does_not_fit, policy::refusal(plan.question, plan.modes)};
  }
  const std::string advice = policy::recommendation(plan.question, plan.modes, *plan.overall);
  const std::vector<std::string> changes = policy::what_would_change(plan.question, plan.modes);
  if (arguments.json) {
    print_json(plan, advice, changes);
    return ExitCode::done;
  }
  print_table(plan);
  fmt::print("\n{}\n", advice);
  if (!plan.best) {
    fmt::print("As the job stands it does not fit.\n");
  } else if (plan.best->mode != plan.overall->mode) {
    fmt::print("As the job stands ({}): {}{:.0f} tokens/s.\n", policy::setting_of(*plan.best), policy::is_bound(plan.best->mode) ? "at most " : "", plan.best->tokens_per_s);
  }
  for (const std::string& change : changes) fmt::print("{}\n", change);
  fmt::print("Experts are taken to be chosen evenly and at random, or as unevenly as placement.trace says; text has {:g} bytes a token; prefixes that requests share count each time; the time of async is a bound "
             "that its busiest resource sets.\n",
             ranks::text_bytes_per_token);
  return ExitCode::done;
}

}  // namespace

void add_plan_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<PlanArguments>();
  CLI::App* command = app.add_subcommand("plan", "What a job would need and take in each way to run it, and which to choose; nothing is loaded");
  command->add_option("job", arguments->job_file, "Job file; its [emulation] names device, link and model")->required();
  command->add_option("--ranks", arguments->num_ranks, "Plan for this many ranks")->required()->check(CLI::Range(1, 1 << 16));
  command->add_option("--set", arguments->overrides, "Override a key: --set section.key=value (repeatable)")->allow_extra_args(false);
  command->add_option("--profile", arguments->profile, "Costs that moebius profile measured, as plan.profile; for jobs in real time");
  command->add_option("--memory-gib", arguments->options.memory_gib, "Memory of a rank; default: that of the device, 80 (h100) or 40 (a100), or what this machine has for all")
      ->check(CLI::PositiveNumber);
  command->add_option("--prompt-tokens", arguments->options.prompt_tokens, "Tokens of each request's prompt, in place of those of the input")->check(CLI::PositiveNumber);
  command->add_option("--new-tokens", arguments->options.new_tokens, "With --prompt-tokens: tokens that each request generates; default: none, prompts are scored")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", arguments->json, "One line of JSON");
  command->footer("Examples:\n"
                  "  moebius plan inputs/score.toml --ranks 2      # on this machine\n"
                  "  moebius plan inputs/score.toml --ranks 2 --profile speeds.json\n"
                  "  moebius plan inputs/score.toml --ranks 32 --set emulation.device=h100 --set emulation.model=qwen3-235b-a22b \\\n"
                  "      --set emulation.link=network --prompt-tokens 2048\n"
                  "Exit code 72: it fits in no way.");
  command->callback([arguments, &exit_code] {
    if (is_first_process()) exit_code = static_cast<int>(guarded([&] { return plan(*arguments); }));
  });
}

}  // namespace moebius::app
