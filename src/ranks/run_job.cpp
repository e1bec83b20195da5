// SPDX-License-Identifier: Apache-2.0
#include "ranks/run_job.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <optional>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "comm/control_board.hpp"
#include "comm/ring_transport.hpp"
#include "io/job_file.hpp"
#include "io/results_block.hpp"
#include "io/results_master.hpp"
#include "io/utc_time.hpp"
#include "ranks/agreement.hpp"
#include "ranks/expert_plan.hpp"
#include "ranks/heartbeat.hpp"
#include "ranks/job_costs.hpp"
#include "ranks/job_plan.hpp"
#include "ranks/job_setup.hpp"
#include "ranks/rank_engine.hpp"
#include "ranks/rank_report.hpp"
#include "ranks/run_memory.hpp"
#include "ranks/recordings.hpp"
#include "ranks/stop_control.hpp"

namespace moebius::ranks {
namespace {

/// Reads and parses the lines of the next claim; none where the run has to stop.
ClaimSource claim_lines(JobSetup& setup, comm::ControlBoard& board, StopControl& stop, std::int64_t& num_unknown_fields) {
  return [&]() -> std::optional<std::vector<ParsedLine>> {
    if (!stop.may_claim()) return std::nullopt;
    const std::span<const std::int64_t> claimed = setup.claims->lines(board.fetch_add(comm::Counter::next_claim, 1));
    if (claimed.empty()) return std::nullopt;
    std::vector<ParsedLine> lines;
    for (const std::int64_t i : claimed) {
      const io::RequestFile::Line& line = setup.lines[static_cast<std::size_t>(i)];
      stop.claimed(line.line);
      io::ParsedRequest parsed = setup.requests->read_request(line);
      num_unknown_fields += parsed.num_unknown_fields;
      lines.push_back(std::move(parsed.line));
    }
    return lines;
  };
}

std::string describe_choices(const policy::PipelineSolver& solver) {
  std::string text;
  for (const auto& [answer, count] : solver.answers()) {
    const auto& [r1, r2, order] = answer;
    text += fmt::format("{}r1 {}, r2 {}, {}: {}", text.empty() ? "" : "; ", r1, r2, to_string(order), count);
  }
  return fmt::format("{} ({} searches)", text.empty() ? "no mini-batch" : text, solver.num_searches());
}

/// What a rank found out, as rank 0 wants it; the phases are added when the last of them has ended.
RankReport make_report(const comm::Session& session, const RankEngine& engine, Roles roles, std::int64_t num_unknown_fields,
                       double loop_s, const EmulatedRank& emulated) {
  RankReport report{.rank = session.rank().value, .role = to_string(roles), .node = session.processor_name(), .loop_s = loop_s,
                    .num_unknown_fields = num_unknown_fields, .peak_rss_bytes = peak_rss_bytes(), .memory = engine.memory_by_kind(), .emulation = emulated};
  if (engine.solver() != nullptr) report.pipeline_choices = describe_choices(*engine.solver());
  if (engine.attention() != nullptr) {
    report.attention = engine.attention()->counters();
    report.work = engine.workload()->counters();
    report.kv_blocks_evicted = engine.kv()->num_evicted();
    report.inter_token_buckets = engine.scorer()->inter_token_times().buckets();
    report.activation = engine.router()->counters();
    if (engine.capacity() != nullptr) report.capacity = engine.capacity()->counters();
    if (engine.recorder() != nullptr) report.trace = engine.recorder()->trace();
  }
  if (engine.experts() != nullptr) {
    report.experts = engine.experts()->counters();
    report.load = engine.experts()->load();
  }
  report.live = make_live_report(engine.live(), engine.experts());
  report.exposed_s = engine.measures_overlap(session.num_nodes()) ? engine.arrivals().exposed_s() : std::nan("");
  return report;
}

/// What was going on until the last rank was done.
void add_recordings(RankReport& report, const PhaseClock& clock, Recordings& recordings) {
  recordings.end();
  for (std::size_t i = 0; i < num_phases; ++i) report.phases[i] = clock.total(static_cast<Phase>(i));
  report.series.assign(recordings.series()->points().begin(), recordings.series()->points().end());
  if (!recordings.timeline()) return;
  report.timeline.assign(recordings.timeline()->intervals().begin(), recordings.timeline()->intervals().end());
  report.transfers.assign(recordings.timeline()->transfers().begin(), recordings.timeline()->transfers().end());
  report.intervals_left_out = recordings.timeline()->num_left_out();
}

/// The loop of this rank; what slow motion says of it, zeros in real time.
EmulatedRank run_loop(RankEngine& engine) {
  const double start_s = now_s(), processor_start_s = processor_s();
  engine.run();
  if (!engine.pace().slow()) return {};
  return {.processor_s = processor_s() - processor_start_s, .loop_s = now_s() - start_s, .elapsed_s = engine.pace().elapsed_s(),
          .pace = engine.pace().counters()};
}

/// Admission, transport work, waiting for credit, writing results, moving experts: what is neither compute nor waiting for rows.
double overhead_share(const RankReport& report) {
  double seconds = 0;
  for (const Phase phase : {Phase::admit, Phase::dispatch, Phase::dispatch_wait, Phase::io, Phase::rebalance}) {
    seconds += report.phases[static_cast<std::size_t>(phase)].seconds;
  }
  return report.loop_s > 0 ? seconds / report.loop_s : 0.0;
}

/// Of each role the rank with the largest peak: what it allocated on purpose, and the rest.
std::string explain_memory(const std::vector<RankReport>& reports) {
  constexpr double mib = 1024.0 * 1024.0;
  std::map<std::string, const RankReport*> largest;
  for (const RankReport& report : reports) {
    const RankReport*& best = largest[report.role];
    if (best == nullptr || report.peak_rss_bytes > best->peak_rss_bytes) best = &report;
  }
  std::string text;
  for (const auto& [role, report] : largest) {
    text += fmt::format("peak memory of an {} rank {:.1f} MiB; allocated:", role, static_cast<double>(report->peak_rss_bytes) / mib);
    for (const auto& [kind, bytes] : report->memory) text += fmt::format(" {} {:.1f},", kind, static_cast<double>(bytes) / mib);
    text += " and windows, MPI, HDF5\n";
  }
  return text;
}

JobOutcome conclude(const std::vector<RankReport>& reports, const io::MasterSummary& master, const io::OutputFolder& output) {
  JobOutcome outcome{.restart_count = output.run(), .rows_before = output.num_rows_committed(), .rows = master.num_rows,
                     .rows_failed = master.num_failed, .digest = master.digest};
  std::int64_t sent = 0, received_by_experts = 0, computed = 0, returned = 0, arrived = 0, emitted = 0, busiest = 0, num_experts_ranks = 0;
  for (const RankReport& report : reports) {
    outcome.requests += report.work.requests;
    outcome.tokens_fed += report.work.tokens_fed;
    outcome.tokens_out += report.work.tokens_out;
    outcome.root_tokens += report.work.root_tokens;
    outcome.root_tokens_reused += report.work.root_tokens_reused;
    outcome.kv_blocks_evicted += report.kv_blocks_evicted;
    outcome.unknown_fields += report.num_unknown_fields;
    outcome.loop_s = std::max(outcome.loop_s, report.loop_s);
    outcome.overhead_share = std::max(outcome.overhead_share, overhead_share(report));
    const PhaseTotal& load = report.phases[static_cast<std::size_t>(Phase::load)];
    outcome.load_s = std::max(outcome.load_s, load.seconds);
    outcome.load_bytes += load.bytes;
    outcome.peak_rss_bytes = std::max(outcome.peak_rss_bytes, report.peak_rss_bytes);
    emitted += report.work.rows;
    sent += report.attention.pairs_sent;
    arrived += report.attention.outputs_received;
    received_by_experts += report.experts.rows_received;
    computed += report.experts.rows_computed;
    returned += report.experts.rows_sent;
    busiest = std::max(busiest, report.experts.rows_computed);
    num_experts_ranks += report.role != to_string(Roles::attention);
    outcome.expert_calls += report.experts.calls;
    outcome.generations += static_cast<std::int64_t>(report.live.changes.size());
    outcome.experts_moved += static_cast<std::int64_t>(report.live.moves.size());
    outcome.largest_stall_s = std::max(outcome.largest_stall_s, report.live.counters.largest_stall_s);
    outcome.longest_expert_call_s = std::max(outcome.longest_expert_call_s, report.live.longest_expert_call_s);
  }
  outcome.conserved = sent == received_by_experts && sent == computed && sent == returned && sent == arrived &&
                      outcome.rows_before + emitted == master.num_rows;
  outcome.memory = explain_memory(reports);
  for (const RankReport& report : reports) {
    for (const policy::CapacityCounters& layer : report.capacity) outcome.capacity.add(layer);
  }
  const LatencyHistogram inter_token = all_inter_token_times(reports);
  outcome.inter_token_count = inter_token.count();
  outcome.inter_token_p50_s = inter_token.quantile(0.5);
  outcome.inter_token_p99_s = inter_token.quantile(0.99);
  outcome.activation = summarise_activation(reports, static_cast<std::size_t>(num_experts_ranks));
  if (computed > 0) outcome.imbalance = static_cast<double>(busiest * num_experts_ranks) / static_cast<double>(computed);
  return outcome;
}

std::vector<EmulatedRank> emulated_ranks(const std::vector<RankReport>& reports) {
  std::vector<EmulatedRank> ranks;
  for (const RankReport& report : reports) ranks.push_back(report.emulation);
  return ranks;
}

/// All ranks are on this machine where the job is in slow motion.
EmulationSummary summarise_emulation(const Job& job, const std::vector<RankReport>& reports) {
  std::int64_t tokens = 0;
  for (const RankReport& report : reports) tokens += report.work.tokens_fed;
  return summarise_emulation(job, emulated_ranks(reports), static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN)), tokens);
}

io::PredictedTable compare_with_prediction(const JobSetup& setup, const std::vector<RankReport>& reports, const EmulationSummary& summary) {
  double loop_s = 0;
  std::int64_t tokens = 0;
  for (const RankReport& report : reports) {
    loop_s = std::max(loop_s, report.loop_s);
    tokens += report.work.tokens_fed;
  }
  return predicted_table(setup.prediction, summary.on ? summary.seconds : loop_s, static_cast<double>(tokens));
}

io::RunRecord make_record(const JobSetup& setup, const ResolvedJob& resolved, const RunOptions& options,
                          const std::vector<RankReport>& reports, const EmulationSummary& summary) {
  io::RunRecord record{.texts = options.build_facts, .seed = resolved.job.run.seed, .restart_count = setup.output->run(),
                       .num_rows_expected = setup.output->num_rows_committed(), .start_utc = setup.output->start_utc(),
                       .end_utc = io::utc_now()};
  for (const RankReport& report : reports) record.num_rows_expected += report.work.rows;
  std::string library_versions;
  for (const auto& [name, value] : options.build_facts) {
    if (name.ends_with("_version") || name == "mpi_library") library_versions += fmt::format("{} {}; ", name, value);
  }
  record.texts.insert(record.texts.end(),
                      {{"library_versions", library_versions},
                       {"model_path", resolved.job.model.path},
                       {"router_skew", describe_router(setup.config)},
                       {"model_hash", to_hex(setup.checkpoint->fingerprint())},
                       {"tokenizer_hash", to_hex(setup.tokenizer_hash)},
                       {"chat_template_hash", to_hex(setup.chat_template_hash)},
                       {"job_toml", io::to_toml(resolved)},
                       {"shard", options.shard ? to_string(*options.shard) : "whole"},
                       {"rank_layout", setup.layout.describe()},
                       {"expert_placement", describe_placement(resolved.job)},
                       {"capacity", describe_capacity(resolved.job)},
                       {"emulation", describe_emulation(resolved.job, setup.config)},
                       {"emulation_valid", validity(summary)},
                       {"prediction", describe(setup.prediction)},
                       {"pipeline_choices", reports.front().pipeline_choices},
                       {"emulated_slowdown", describe_slowdown(resolved.job, static_cast<int>(setup.layout.expert_ranks.size()))}});
  record.emulation = emulation_table(summary, emulated_ranks(reports));
  record.predicted = compare_with_prediction(setup, reports, summary);
  fill_rank_tables(record, reports, setup);
  record.activation.expert_weight_bytes = static_cast<std::int64_t>(model::ExpertStack::expert_bytes(setup.config, resolved.job.model.compute));
  return record;
}

/// Between two tensors a rank looks whether the run is to stop: reading may take minutes.
TensorLookup stoppable(const TensorLookup& tensors, StopControl& stop) {
  return [&](std::string_view name) {
    stop.check_before_loop();
    return tensors(name);
  };
}

/// Weights, queues and loop of this rank.
std::unique_ptr<RankEngine> make_engine(const Job& job, JobSetup& setup, const TensorLookup& tensors, comm::Transport& transport, PhaseClock& clock, RunMemory& memory,
                                        ClaimSource claim, RowSink sink, Heartbeat& heartbeat) {
  auto engine = std::make_unique<RankEngine>(RankEngine::Parts{.job = job,
                                                               .config = setup.config,
                                                               .tensors = tensors,
                                                               .tokenizer = setup.tokenizer.get(),
                                                               .chat_template = setup.chat_template.get(),
                                                               .placement = *setup.group_placement,
                                                               .roles = setup.roles,
                                                               .attention_ranks = setup.group.attention_ranks,
                                                               .expert_ranks = setup.group.expert_ranks,
                                                               .transport = transport,
                                                               .claim = std::move(claim),
                                                               .sink = std::move(sink),
                                                               .attention_weights = {.memory = memory.weights().memory(),
                                                                                     .share = {memory.weights().member_idx(), memory.weights().num_members()}},
                                                               .exchanges = memory.exchanges(),
                                                               .peers = memory.peers(),
                                                               .all_to_all = memory.all_to_all()},
                                             clock, [&](const LoopStatus& status) { heartbeat.beat(status); });
  clock.mark(Phase::load, 0, setup.checkpoint->counters().bytes);
  return engine;
}

/// What the blocks of a folder hold, as their records say.
io::MasterSummary committed_so_far(const std::string& directory) {
  io::MasterSummary summary;
  for (const io::JournalRecord& block : io::read_journal(directory).blocks()) {
    ++summary.num_blocks;
    summary.num_rows += block.num_rows;
    summary.num_tokens += block.num_tokens;
    summary.num_failed += block.num_failed;
    summary.digest += block.digest;
  }
  return summary;
}

/// Rank 0: of a run that was stopped. What is committed is in the journal.
JobOutcome stopped_outcome(const std::vector<RankReport>& reports, const JobSetup& setup, const Job& job, std::int64_t requests_done) {
  JobOutcome outcome = conclude(reports, committed_so_far(job.output.path), *setup.output);
  outcome.end = JobEnd::stopped;
  outcome.requests_left = static_cast<std::int64_t>(setup.lines.size()) - requests_done;
  return outcome;
}

/// When the run is told to stop, what is finished is committed, for whoever may not wait; at the last moment the rest is
/// dropped. The writer and the engine are made later.
std::function<void(double)> stop_in_time(StopControl& stop, const std::unique_ptr<io::BlockWriter>& writer,
                                         const std::unique_ptr<RankEngine>& engine, PhaseClock& clock) {
  return [&](double now) {
    const StopControl::Step step = stop.look(now);
    if (step == StopControl::Step::none || writer == nullptr) return;
    if (step == StopControl::Step::drop) engine->drop_unfinished();
    writer->finish();
    clock.mark(Phase::io);
  };
}

std::vector<Roles> roles_of_all(const policy::RankLayout& layout, int num_ranks) {
  std::vector<Roles> roles;  // [num_ranks]
  for (int rank = 0; rank < num_ranks; ++rank) roles.push_back(roles_of(layout, RankId(rank)));
  return roles;
}

/// Collective, after the asynchronous path is over: rank 0 hears from everybody and writes the master file, unless the run
/// was stopped before its end.
JobOutcome wind_up(comm::Session& session, const JobSetup& setup, const ResolvedJob& resolved, const RunOptions& options,
                   const RankReport& mine) {
  session.limit_waiting(resolved.job.run.setup_limit_s);
  const auto gathered = session.gather_to_root(to_bytes(mine));
  JobOutcome outcome;
  together(session, [&] {
    if (session.rank() != RankId(0)) return;
    std::vector<RankReport> reports;
    for (const auto& bytes : gathered) reports.push_back(report_from_bytes(bytes));
    std::int64_t requests_done = 0;
    for (const RankReport& report : reports) requests_done += report.work.requests_done;
    if (requests_done < static_cast<std::int64_t>(setup.lines.size())) {
      outcome = stopped_outcome(reports, setup, resolved.job, requests_done);
      return setup.output->release();
    }
    const EmulationSummary emulation = summarise_emulation(resolved.job, reports);
    const io::RunRecord record = make_record(setup, resolved, options, reports, emulation);
    const auto master = io::write_master(resolved.job.output.path, record, setup.output->fingerprint(), setup.output->run());
    outcome = conclude(reports, master, *setup.output);
    outcome.emulation = emulation;
    outcome.predicted = record.predicted;
    outcome.emulation_text = describe_emulation(resolved.job, setup.config);
    setup.output->release();
  });
  outcome.end = static_cast<JobEnd>(session.agree_max(static_cast<int>(outcome.end)));
  return outcome;
}

/// Of results that an earlier run has finished.
JobOutcome finished_outcome(const JobSetup& setup, const Job& job) {
  JobOutcome outcome{.end = JobEnd::was_done};
  if (setup.output == nullptr) return outcome;
  const io::MasterSummary committed = committed_so_far(job.output.path);
  outcome.restart_count = setup.output->run();
  outcome.rows = outcome.rows_before = committed.num_rows;
  outcome.rows_failed = committed.num_failed;
  outcome.digest = committed.digest;
  outcome.conserved = true;
  return outcome;
}

/// Collective: the folder is made ready, and every rank that commits rows knows the number of the run.
std::unique_ptr<io::BlockWriter> begin_output(comm::Session& session, const JobSetup& setup, const Job& job, comm::ControlBoard& board) {
  int run = 0;
  std::string fingerprint;
  together(session, [&] {
    if (setup.output == nullptr) return;
    run = static_cast<int>(setup.output->begin());
    board.fetch_add(comm::Counter::rows_failed_before, setup.output->num_failed_committed());
    fingerprint = setup.output->fingerprint();
    for (const std::string& note : setup.output->notes()) fmt::print(stderr, "resume: {}\n", note);
    if (setup.output->state() == io::FolderState::unfinished) {
      fmt::print(stderr, "resume: {} rows of {} are committed; {} requests are left (restart {})\n", setup.output->num_rows_committed(),
                 job.output.path, setup.lines.size(), run);
    }
  });
  run = session.agree_max(run);
  std::vector<std::byte> bytes(fingerprint.size());
  std::memcpy(bytes.data(), fingerprint.data(), fingerprint.size());
  session.broadcast(bytes);
  fingerprint.assign(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::unique_ptr<io::BlockWriter> writer;
  together(session, [&] {
    if (!has_attention(setup.roles)) return;
    writer = std::make_unique<io::BlockWriter>(job.output.path, session.rank(), job.run.rows_per_block, fingerprint, run);
  });
  return writer;
}

/// From the weights to the results, in memory that the caller closes.
JobOutcome run_in(RunMemory& memory, comm::Session& session, JobSetup& setup, const ResolvedJob& resolved, const RunOptions& options,
                  const StopLimits& limits, PhaseClock& clock) {
  const Job& job = resolved.job;
  std::int64_t num_unknown_fields = 0;
  comm::RingTransport transport(memory.window());
  comm::ControlBoard board(session, memory.window());
  StopControl stop(board, limits, job.run.max_errors);
  const TensorLookup tensors = stoppable(setup.tensors, stop);
  std::unique_ptr<io::BlockWriter> writer;
  std::unique_ptr<RankEngine> engine;
  std::optional<ProgressDisplay> display;
  if (session.rank() == RankId(0)) display.emplace(job.run.progress);
  Recordings recordings(clock);
  Heartbeat heartbeat({.session = session,
                       .board = board,
                       .display = display ? &*display : nullptr,
                       .num_requests = static_cast<std::int64_t>(setup.lines.size()),
                       .num_expert_ranks = static_cast<std::int64_t>(setup.layout.expert_ranks.size()),
                       .watchdog_s = job.run.watchdog_s,
                       .roles = roles_of_all(setup.layout, session.num_ranks()),
                       .recordings = recordings,
                       .on_publish = stop_in_time(stop, writer, engine, clock),
                       .waiting = job.emulation.on() ? Heartbeat::Waiting::asleep : Heartbeat::Waiting::yielding,
                       .dilation = job.emulation.on() ? job.emulation.dilation : 0.0});
  const RowSink sink = [&](std::vector<Row> rows) {
    const auto num_rows = static_cast<std::int64_t>(rows.size());
    clock.mark(Phase::admit);
    heartbeat.count_rows(rows);
    stop.emitted(rows.front().input_line);
    writer->add(std::move(rows));
    clock.mark(Phase::io, num_rows);
  };
  clock.mark(Phase::idle);
  together(session, [&] {
    engine = make_engine(job, setup, tensors, transport, clock, memory, claim_lines(setup, board, stop, num_unknown_fields), sink, heartbeat);
  });
  memory.publish(session);
  // Only now, when nothing but the run itself can fail: a job that could not start leaves no results behind.
  writer = begin_output(session, setup, job, board);
  stop.begin_loop();
  recordings.begin(session, job, *engine);
  session.watch_calls(job.run.watchdog_s, to_string(setup.roles));  // from here on the watchdog looks
  const EmulatedRank emulated = run_loop(*engine);
  if (writer != nullptr) writer->finish();
  clock.mark(Phase::io);
  RankReport mine = make_report(session, *engine, setup.roles, num_unknown_fields, now_s() - recordings.begin_s(), emulated);
  heartbeat.wait_for_all(transport, clock);
  add_recordings(mine, clock, recordings);
  return wind_up(session, setup, resolved, options, mine);
}

}  // namespace

JobOutcome run_job(comm::Session& session, const ResolvedJob& asked, const RunOptions& options) {
  session.limit_waiting(asked.job.run.setup_limit_s);
  ResolvedJob resolved = follow_plan_together(session, asked);
  together(session, [&] { resolved = with_measured_costs(std::move(resolved)); });
  const StopLimits limits = agree_on_stop_limits(session, resolved.job);
  PhaseClock clock;
  JobSetup setup = set_up_job(session, resolved, options);
  if (setup.finished) return finished_outcome(setup, resolved.job);
  RunMemory memory(session, resolved.job, setup);
  JobOutcome outcome;
  std::optional<AgreedFailure> failure;
  try {
    outcome = run_in(memory, session, setup, resolved, options, limits, clock);
  } catch (const AgreedFailure& agreed) {
    failure = agreed;
  }
  // Also when all ranks have agreed on a failure: MPI_Finalize over an open window hangs in Open MPI's osc/ucx.
  memory.close();
  setup.communicators.free();
  if (failure) throw *failure;
  return outcome;
}

}  // namespace moebius::ranks
