// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/build_facts.hpp"
#include "app/commands.hpp"
#include "app/mpi_program.hpp"
#include "base/check.hpp"
#include "base/random.hpp"
#include "base/shard.hpp"
#include "io/job_file.hpp"
#include "io/output_directory.hpp"
#include "io/results_reader.hpp"
#include "io/results_verify.hpp"
#include "io/row_digest.hpp"
#include "ranks/agreement.hpp"
#include "ranks/run_job.hpp"

namespace moebius::app {
namespace {

struct VerifyArguments {
  std::string directory;
  bool reshuffle = false;
  std::int64_t num_requests = 64;
  std::uint64_t seed = 0;
};

ExitCode verify_stored(const std::string& directory) {
  const io::VerifyReport report = io::verify_results(directory);
  for (const std::string& note : report.notes) fmt::print("note: {}\n", note);
  for (const std::string& problem : report.problems) fmt::print("problem: {}\n", problem);
  fmt::print("{}: {} blocks, {} rows ({} failed), {} tokens, digest {}\n", directory, report.num_blocks, report.num_rows,
             report.num_failed, report.num_tokens, to_hex(report.digest));
  if (report.ok()) {
    fmt::print("verified: journal, blocks and results.h5 are whole and agree\n");
    return ExitCode::done;
  }
  std::fprintf(stderr, "moebius: %zu problems in %s (listed above) run the job again with --force-new\n", report.problems.size(),
               directory.c_str());
  return ExitCode::unreadable_input;
}

/// The job of the results, to be run in another way: other order, scheduler, budgets, layout.
struct OtherWay {
  ResolvedJob resolved;
  std::optional<Shard> shard;  ///< of the results, where they are those of one
};

OtherWay other_way(comm::Session& session, const VerifyArguments& arguments, const std::string& scratch) {
  OtherWay other;
  ranks::together(session, [&] {
    const io::ResultsReader reader(arguments.directory);
    const auto toml = reader.attribute("job_toml");
    if (!toml) {
      throw Failure(ExitCode::unreadable_input, fmt::format("{} does not name its job (results.h5 is not there: the run has not ended) "
                                                            "finish the run first",
                                                            arguments.directory));
    }
    static constexpr const char* schedulers[] = {"mtfs", "flfs", "mbflfs", "defrag"};
    const std::uint64_t draw = static_cast<std::uint64_t>(philox_uniform(arguments.seed, 1, 0) * 1024);
    static constexpr const char* modes[] = {"split", "colocated", "replicate"};
    const auto budget = 16 + draw % 200;
    const std::vector<std::string> overrides = {
        fmt::format("output.path={}", scratch), fmt::format("schedule.scheduler={}", schedulers[draw % 4]),
        fmt::format("limits.max_tokens_in_flight={}", budget), fmt::format("limits.segment_tokens={}", 1 + draw % 16),
        fmt::format("layout.mode={}", modes[draw % 3]), "layout.attention_ranks=0", "layout.expert_ranks=0",
        "schedule.execution=async", "run.progress=off"};
    other.resolved = io::read_job_text(*toml, arguments.directory + "/results.h5", overrides);
    other.shard = parse_shard(reader.attribute("shard").value_or(""));
  });
  return other;
}

/// Digests of rows by their name: the line may differ in another order of the input, the name does not.
using RowDigests = std::map<std::tuple<std::int64_t, std::int32_t>, Digest128>;

RowDigests digests_of(const std::string& directory) {
  constexpr std::int64_t rows_per_read = 1024;
  RowDigests digests;
  const io::ResultsReader reader(directory);
  for (std::int64_t first = 0; first < reader.num_rows(); first += rows_per_read) {
    for (const Row& row : reader.read_rows(first, rows_per_read)) digests[{row.input_line, row.choice_idx}] = io::row_digest(row);
  }
  return digests;
}

ExitCode compare(const VerifyArguments& arguments, const std::string& scratch, const ResolvedJob& resolved, int num_ranks) {
  const RowDigests stored = digests_of(arguments.directory), again = digests_of(scratch);
  std::int64_t different = 0;
  for (const auto& [row, digest] : again) {
    const auto other = stored.find(row);
    if (other != stored.end() && other->second == digest) continue;
    ++different;
    fmt::print("line {} choice {} differs: stored {}, computed again {}\n", std::get<0>(row), std::get<1>(row),
               other == stored.end() ? "nothing" : to_hex(other->second), to_hex(digest));
  }
  fmt::print("{} rows computed again on {} ranks, {}, scheduler {}, {} tokens in flight, in random order: {} differ\n", again.size(),
             num_ranks, to_string(resolved.job.layout.mode), to_string(resolved.job.schedule.scheduler),
             resolved.job.limits.max_tokens_in_flight, different);
  if (different == 0) return ExitCode::done;
  std::fprintf(stderr, "moebius: %lld rows have other bits (model, program or processor type changed since) see the attributes of "
                       "results.h5\n",
               static_cast<long long>(different));
  return ExitCode::unreadable_input;
}

ExitCode reshuffle(comm::Session& session, const VerifyArguments& arguments) {
  // Beside the results, so that it is on the same disk; replaced if an earlier check was killed.
  const std::string scratch = (std::filesystem::path(arguments.directory) / "reshuffle").string();
  const OtherWay other = other_way(session, arguments, scratch);
  const ranks::RunOptions options{.on_existing = io::OnExisting::replace,
                                  .build_facts = build_facts(session),
                                  .shuffle_seed = arguments.seed,
                                  .max_requests = arguments.num_requests,
                                  .shard = other.shard};
  const ranks::JobOutcome outcome = ranks::run_job(session, other.resolved, options);
  auto code = ExitCode::done;
  ranks::together(session, [&] {
    if (session.rank() != RankId(0)) return;
    if (outcome.end == ranks::JobEnd::stopped) {
      std::filesystem::remove_all(scratch);
      throw Failure(ExitCode::stopped_early, "the check was stopped (a signal came or the walltime is near) run it again");
    }
    MOEBIUS_ENSURE(outcome.conserved);
    code = compare(arguments, scratch, other.resolved, session.num_ranks());
    std::filesystem::remove_all(scratch);
  });
  return static_cast<ExitCode>(session.agree_max(static_cast<int>(code)));
}

}  // namespace

void add_verify_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<VerifyArguments>();
  CLI::App* command = app.add_subcommand("verify", "Check results: checksums, counts, digest; or compute rows again in another way");
  command->add_option("directory", arguments->directory, "Results directory")->required();
  command->add_flag("--reshuffle", arguments->reshuffle,
                    "Compute a sample of the requests again on the ranks of this launch, in random order, with another scheduler "
                    "and other budgets, and compare every bit");
  command->add_option("--requests", arguments->num_requests, "How many requests --reshuffle takes (0: all)")->check(CLI::NonNegativeNumber);
  command->add_option("--seed", arguments->seed, "Other seeds take other requests, orders and schedules");
  command->footer("Examples:\n"
                  "  moebius verify results/score\n"
                  "  mpirun -n 3 moebius verify results/score --reshuffle --seed 7");
  command->callback([arguments, &exit_code] {
    if (arguments->reshuffle) {
      exit_code = run_mpi_program([&](comm::Session& session) { return reshuffle(session, *arguments); });
    } else if (is_first_process()) {
      exit_code = static_cast<int>(guarded([&] { return verify_stored(arguments->directory); }));
    }
  });
}

}  // namespace moebius::app
