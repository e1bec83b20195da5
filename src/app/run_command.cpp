// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/build_facts.hpp"
#include "app/commands.hpp"
#include "app/mpi_program.hpp"
#include "app/summary.hpp"
#include "base/shard.hpp"
#include "io/job_file.hpp"
#include "io/results_reader.hpp"
#include "ranks/agreement.hpp"
#include "ranks/run_job.hpp"
#include "ranks/time_left.hpp"

namespace moebius::app {
namespace {

struct RunArguments {
  std::string job_file;
  std::vector<std::string> overrides;
  bool force_new = false;
  bool strict = false;
  std::optional<std::int64_t> max_errors;
  std::string walltime, shard;
};

/// Tokens a second; 0 where nothing was computed.
double rate_of(const ranks::JobOutcome& outcome) {
  return outcome.loop_s > 0 ? static_cast<double>(outcome.tokens_fed) / outcome.loop_s : 0.0;
}

/// Members for slow motion; in real time there are none.
std::string json_of(const ranks::EmulationSummary& emulation) {
  if (!emulation.on) return {};
  return fmt::format("\"emulated_dilation\":{},\"emulated_s\":{:.9f},\"emulated_tokens_per_s\":{:.3f},\"emulation_valid\":{},\"compute_share\":{:.4f},"
                     "\"emulation_slip\":{:.4f},\"missed_share\":{:.4f},\"shortest_stage_s\":{:.3g},",
                     emulation.dilation, emulation.seconds, emulation.tokens_per_s, emulation.valid(), emulation.compute_share, emulation.slip,
                     emulation.missed_share, emulation.shortest_s);
}

/// Error of the prediction in parts of what was measured; of a bound, how far the run was from it.
double prediction_error(const io::PredictedTable& predicted) { return predicted.seconds / predicted.measured_seconds - 1; }

/// Members for a run that was predicted.
std::string json_of(const io::PredictedTable& predicted) {
  if (predicted.seconds <= 0) return {};
  return fmt::format("\"predicted_s\":{:.9f},\"measured_s\":{:.9f},\"predicted_tokens\":{:.0f},\"predicted_layer_s\":{:.9f},\"measured_layer_s\":{:.9f},\"prediction_is_bound\":{},"
                     "\"prediction_error\":{:.4f},",
                     predicted.seconds, predicted.measured_seconds, predicted.tokens, predicted.layer_seconds, predicted.measured_layer_seconds, predicted.is_bound > 0,
                     prediction_error(predicted));
}

std::string describe(const io::PredictedTable& predicted) {
  if (predicted.seconds <= 0) return {};
  return fmt::format("predicted: {}{:.6g} s, measured {:.6g} s ({:+.1f} %)\n", predicted.is_bound > 0 ? "at least " : "", predicted.seconds, predicted.measured_seconds,
                     100 * prediction_error(predicted));
}

/// One line of JSON on stdout, for scripts.
void print_json(const Job& job, const ranks::JobOutcome& outcome) {
  fmt::print("{{\"requests\":{},\"rows\":{},\"rows_failed\":{},\"rows_before\":{},\"requests_left\":{},\"restart_count\":{},\"tokens_fed\":{},\"tokens_out\":{},"
             "\"root_tokens\":{},\"root_tokens_reused\":{},\"kv_blocks_evicted\":{},\"load_bytes\":{},\"load_s\":{:.3f},\"loop_s\":{:.9f},"
             "\"tokens_per_s\":{:.1f},\"conserved\":{},\"imbalance\":{:.3f},\"overhead_share\":{:.4f},\"peak_rss_bytes\":{},"
             "\"inter_token_count\":{},\"inter_token_p50_s\":{:.6f},\"inter_token_p99_s\":{:.6f},\"expert_calls\":{},\"activated_max\":{:.3f},\"activated_mean\":{:.3f},\"rows_max\":{:.3f},\"rows_mean\":{:.3f},\"even_share\":{:.4f},"
             "\"pairs_kept\":{},\"pairs_dropped\":{},\"pairs_added\":{},\"generations\":{},\"experts_moved\":{},\"largest_stall_s\":{:.6f},\"longest_expert_call_s\":{:.6f},"
             "\"emulated_slowdown\":[{}],{}{}\"digest\":\"{}\"}}\n",
             outcome.requests, outcome.rows, outcome.rows_failed, outcome.rows_before, outcome.requests_left, outcome.restart_count, outcome.tokens_fed,
             outcome.tokens_out, outcome.root_tokens, outcome.root_tokens_reused, outcome.kv_blocks_evicted, outcome.load_bytes,
             outcome.load_s, outcome.loop_s, rate_of(outcome), outcome.conserved, outcome.imbalance, outcome.overhead_share,
             outcome.peak_rss_bytes, outcome.inter_token_count, outcome.inter_token_p50_s, outcome.inter_token_p99_s, outcome.expert_calls, outcome.activation.activated_max, outcome.activation.activated_mean,
             outcome.activation.rows_max, outcome.activation.rows_mean, outcome.activation.even_share, outcome.capacity.kept,
             outcome.capacity.dropped, outcome.capacity.added, outcome.generations, outcome.experts_moved, outcome.largest_stall_s, outcome.longest_expert_call_s,
             fmt::join(job.placement.emulated_slowdown, ","), json_of(outcome.emulation), json_of(outcome.predicted), to_hex(outcome.digest));
}

bool has_too_many_errors(const Job::Run& run, const ranks::JobOutcome& outcome) {
  return run.max_errors >= 0 && outcome.rows_failed > run.max_errors;
}

/// The finished job for people (stderr) and for scripts (one line of JSON on stdout).
void report(const ResolvedJob& resolved, const ranks::JobOutcome& outcome) {
  const std::string& path = resolved.job.output.path;
  const bool too_many_errors = has_too_many_errors(resolved.job.run, outcome);
  if (outcome.end == ranks::JobEnd::was_done) {
    fmt::print(stderr, "{} is finished: all {} rows were committed by an earlier run, digest {}; nothing to do (--force-new computes them again)\n",
               path, outcome.rows, to_hex(outcome.digest));
    return print_json(resolved.job, outcome);
  }
  if (outcome.end == ranks::JobEnd::stopped) {
    fmt::print(stderr, "moebius: stopped before the end ({}; {} rows are committed, {} requests are left) {}\n",
               too_many_errors ? "too many rows failed" : "a signal came or the walltime is near", outcome.rows, outcome.requests_left,
               too_many_errors ? "see below" : "run the job again to go on");
    return print_json(resolved.job, outcome);
  }
  fmt::print(stderr, "\n{}\n{}", describe(summarise_results(path)), describe_first_rows(path, 5));
  fmt::print(stderr, "results: {0}/results.h5   (look at them: moebius show {0}, or h5dump -A)\n", path);
  if (outcome.unknown_fields > 0) fmt::print(stderr, "{} unknown fields of requests were ignored\n", outcome.unknown_fields);
  if (outcome.root_tokens_reused > 0) {
    fmt::print(stderr, "prefix cache: {:.1f} % of {} prompt tokens were there already; {} kv blocks evicted\n",
               100.0 * static_cast<double>(outcome.root_tokens_reused) / static_cast<double>(outcome.root_tokens), outcome.root_tokens,
               outcome.kv_blocks_evicted);
  }
  const double load_rate = static_cast<double>(outcome.load_bytes) / std::max(outcome.load_s, 1e-9);
  fmt::print(stderr, "{:.3f} GB of weights read and packed in {:.2f} s: {:.2f} GB/s\n", static_cast<double>(outcome.load_bytes) * 1e-9,
             outcome.load_s, load_rate * 1e-9);
  fmt::print(stderr, "{} tokens computed in {:.2f} s{}: {:.0f} tokens/s; digest {}\n{}", outcome.tokens_fed, outcome.loop_s,
             outcome.emulation.on ? " of slow motion" : "", rate_of(outcome), to_hex(outcome.digest), outcome.memory);
  const std::string overlap = describe_overlap(io::ResultsReader(path).work());
  if (!overlap.empty()) fmt::print(stderr, "communication not hidden: {}\n", overlap);
  if (outcome.inter_token_count > 0) {
    fmt::print(stderr, "time between tokens of a generation: median {:.2f} ms, 99 of 100 below {:.2f} ms\n", outcome.inter_token_p50_s * 1e3,
               outcome.inter_token_p99_s * 1e3);
    if (outcome.emulation.on) {
      fmt::print(stderr, "emulated: median {:.4g} ms, 99 of 100 below {:.4g} ms\n", outcome.inter_token_p50_s * 1e3 / outcome.emulation.dilation,
                 outcome.inter_token_p99_s * 1e3 / outcome.emulation.dilation);
    }
  }
  if (resolved.job.capacity.method != CapacityMethod::off) {
    fmt::print(stderr, "capacity {}: {} pairs of rows and experts kept, {} dropped, {} added; outputs depend on micro-batches\n",
               to_string(resolved.job.capacity.method), outcome.capacity.kept, outcome.capacity.dropped, outcome.capacity.added);
  }
  if (resolved.job.rebalance.interval_s > 0) {
    fmt::print(stderr, "placement: {} changes, {} experts went to another rank; longest stall {:.3f} ms, longest expert call {:.3f} ms\n", outcome.generations,
               outcome.experts_moved, 1e3 * outcome.largest_stall_s, 1e3 * outcome.longest_expert_call_s);
  }
  const auto& slowdown = resolved.job.placement.emulated_slowdown;
  if (!slowdown.empty()) fmt::print(stderr, "emulated slowdown of the expert ranks: {} (others 1)\n", fmt::join(slowdown, " "));
  fmt::print(stderr, "{}", ranks::describe(outcome.emulation, outcome.emulation_text));
  fmt::print(stderr, "{}", describe(outcome.predicted));
  print_json(resolved.job, outcome);
}

/// Rank 0 knows how many rows failed, and says so. More of them than run.max_errors is no reason to run the job again as it is,
/// whatever else it was stopped by.
ExitCode agree_on_code(comm::Session& session, const Job::Run& run, bool strict, const ranks::JobOutcome& outcome) {
  const bool too_many = has_too_many_errors(run, outcome);
  const bool strict_failure = outcome.rows_failed > 0 && (strict || run.strict) && outcome.end != ranks::JobEnd::stopped;
  if (too_many) {
    fmt::print(stderr, "moebius: {} rows failed (run.max_errors allows {}) see their status and message in the results{}\n", outcome.rows_failed,
               run.max_errors, outcome.end == ranks::JobEnd::stopped ? "; with a larger run.max_errors the job goes on where it stopped" : "");
  } else if (strict_failure) {
    fmt::print(stderr, "moebius: {} rows failed (strict makes that an error) see their status and message in the results\n", outcome.rows_failed);
  }
  if (session.agree_max(too_many || strict_failure ? 1 : 0) != 0) return ExitCode::rows_failed;
  return outcome.end == ranks::JobEnd::stopped ? ExitCode::stopped_early : ExitCode::done;
}

/// A shard has a folder of its own in the output.path of the job.
std::optional<Shard> agree_on_shard(comm::Session& session, const RunArguments& arguments, std::vector<std::string>& overrides) {
  if (arguments.shard.empty()) return {};
  const auto shard = parse_shard(arguments.shard);
  ranks::together(session, [&] {
    if (!shard) {
      throw Failure{ExitCode::bad_usage, fmt::format("--shard {} cannot be used (it is no shard) write 0/16 for the first of sixteen, 15/16 for the last",
                                                     arguments.shard)};
    }
  });
  const std::string output = read_job_together(session, arguments.job_file, overrides).job.output.path;
  overrides.push_back(fmt::format("output.path={}/{}", output, shard_folder_name(*shard)));
  return shard;
}

ExitCode run(comm::Session& session, const RunArguments& arguments) {
  std::vector<std::string> overrides = arguments.overrides;
  if (!arguments.walltime.empty()) {
    const auto seconds = ranks::parse_duration_s(arguments.walltime);
    ranks::together(session, [&] {
      if (!seconds) {
        throw Failure{ExitCode::bad_usage, fmt::format("--walltime {} cannot be used (it is no time) write seconds, MM:SS, HH:MM:SS or D-HH:MM:SS",
                                                       arguments.walltime)};
      }
    });
    overrides.push_back(fmt::format("run.walltime_s={}", *seconds));
  }
  if (arguments.max_errors) overrides.push_back(fmt::format("run.max_errors={}", *arguments.max_errors));
  const std::optional<Shard> shard = agree_on_shard(session, arguments, overrides);
  const ResolvedJob resolved = read_job_together(session, arguments.job_file, overrides);
  const ranks::RunOptions options{
      .on_existing = arguments.force_new ? io::OnExisting::replace : io::OnExisting::resume,
      .build_facts = build_facts(session),
      .shuffle_seed = std::nullopt,
      .max_requests = 0,
      .shard = shard};
  const ranks::JobOutcome outcome = ranks::run_job(session, resolved, options);
  if (session.rank() == RankId(0)) report(resolved, outcome);
  return agree_on_code(session, resolved.job.run, arguments.strict, outcome);
}

}  // namespace

void add_run_command(CLI::App& app, int& exit_code) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* command = app.add_subcommand("run", "Run a job on all ranks of this launch");
  command->add_option("job", arguments->job_file, "Job file (TOML)")->required();
  command->add_option("--set", arguments->overrides, "Override a key: --set section.key=value (repeatable)")
      ->allow_extra_args(false);
  command->add_flag("--force-new", arguments->force_new, "Delete results that are already in output.path instead of going on with them");
  command->add_option("--walltime", arguments->walltime, "Stop with exit code 75 well before so much time has passed: seconds, MM:SS, HH:MM:SS");
  command->add_option("--shard", arguments->shard, "Run part I of N of the requests (I/N, I from 0) into output.path/shard-I-of-N; moebius merge joins them");
  command->add_option("--max-errors", arguments->max_errors, "Exit code 3 as soon as more rows than this have failed; the job can go on with a larger number");
  command->add_flag("--strict", arguments->strict, "Exit code 3 when a row failed");
  command->footer("Examples:\n"
                  "  mpirun -n 4 moebius run inputs/score.toml\n"
                  "  srun moebius run job.toml --set model.compute=bf16 --set layout.attention_ranks=8\n"
                  "  moebius run inputs/generate.toml --force-new\n"
                  "  moebius run job.toml --shard 0/4\n"
                  "A job that was stopped goes on when it is run again, with any number of ranks.");
  command->callback([arguments, &exit_code] {
    exit_code = run_mpi_program([&](comm::Session& session) { return run(session, *arguments); });
  });
}

}  // namespace moebius::app
