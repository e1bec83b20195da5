// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "app/build_facts.hpp"
#include "app/commands.hpp"
#include "app/mpi_program.hpp"
#include "app/summary.hpp"
#include "io/job_file.hpp"
#include "ranks/run_job.hpp"

namespace moebius::app {
namespace {

struct RunArguments {
  std::string job_file;
  std::vector<std::string> overrides;
  bool force_new = false;
  bool strict = false;
};

/// Bits of the finished job for people (stderr) and for scripts (one line of JSON on stdout).
void report(const ResolvedJob& resolved, const ranks::JobOutcome& outcome) {
  const Job& job = resolved.job;
  const auto tokens = static_cast<double>(outcome.tokens_fed);
  std::fprintf(stderr, "\n%s\n", describe(summarise_results(job.output.path)).c_str());
  std::fprintf(stderr, "%s", describe_first_rows(job.output.path, 5).c_str());
  std::fprintf(stderr, "results: %s/results.h5   (look at them: moebius show %s, or h5dump -A)\n", job.output.path.c_str(),
               job.output.path.c_str());
  if (outcome.unknown_fields > 0) {
    std::fprintf(stderr, "%lld unknown fields of requests were ignored\n", static_cast<long long>(outcome.unknown_fields));
  }
  std::fprintf(stderr, "%.0f tokens computed in %.2f s: %.0f tokens/s; peak memory of a rank %.1f MiB; digest %s\n", tokens,
               outcome.loop_s, tokens / outcome.loop_s, static_cast<double>(outcome.peak_rss_bytes) / (1024.0 * 1024.0),
               to_hex(outcome.digest).c_str());
  std::printf("{\"requests\":%lld,\"rows\":%lld,\"rows_failed\":%lld,\"tokens_fed\":%lld,\"tokens_out\":%lld,\"loop_s\":%.3f,"
              "\"tokens_per_s\":%.1f,\"conserved\":%s,\"imbalance\":%.3f,\"peak_rss_bytes\":%lld,\"digest\":\"%s\"}\n",
              static_cast<long long>(outcome.requests), static_cast<long long>(outcome.rows),
              static_cast<long long>(outcome.rows_failed), static_cast<long long>(outcome.tokens_fed),
              static_cast<long long>(outcome.tokens_out), outcome.loop_s, tokens / outcome.loop_s,
              outcome.conserved ? "true" : "false", outcome.imbalance, static_cast<long long>(outcome.peak_rss_bytes),
              to_hex(outcome.digest).c_str());
}

ExitCode run(comm::Session& session, const RunArguments& arguments) {
  const ResolvedJob resolved = read_job_together(session, arguments.job_file, arguments.overrides);
  const ranks::RunOptions options{
      .on_existing = arguments.force_new ? io::OnExisting::replace : io::OnExisting::refuse,
      .build_facts = build_facts(session),
      .shuffle_seed = std::nullopt,
      .max_requests = 0};
  const ranks::JobOutcome outcome = ranks::run_job(session, resolved, options);
  const bool strict_failure = outcome.rows_failed > 0 && (arguments.strict || resolved.job.run.strict);
  if (session.rank() == RankId(0)) {
    report(resolved, outcome);
    if (strict_failure) {
      std::fprintf(stderr, "moebius: %lld rows failed (strict makes that an error) see their status and message in the results\n",
                   static_cast<long long>(outcome.rows_failed));
    }
  }
  const auto code = strict_failure ? ExitCode::rows_failed : ExitCode::done;
  return static_cast<ExitCode>(session.agree_max(static_cast<int>(code)));
}

}  // namespace

void add_run_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* command = app.add_subcommand("run", "Run a job on all ranks of this launch");
  command->add_option("job", arguments->job_file, "Job file (TOML)")->required();
  command->add_option("--set", arguments->overrides, "Override a key: --set section.key=value (repeatable)")
      ->allow_extra_args(false);
  command->add_flag("--force-new", arguments->force_new, "Replace results that are already in output.path");
  command->add_flag("--strict", arguments->strict, "Exit code 3 when a row failed");
  command->footer("Examples:\n"
                  "  mpirun -n 4 moebius run inputs/score.toml\n"
                  "  srun moebius run job.toml --set model.compute=bf16 --set layout.attention_ranks=8\n"
                  "  moebius run inputs/generate.toml --force-new");
  command->callback([arguments, &exit_code] {
    exit_code = run_mpi_program([&](comm::Session& session) { return run(session, *arguments); });
  });
}

}  // namespace moebius::app
