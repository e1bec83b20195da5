// SPDX-License-Identifier: Apache-2.0
#include "io/run_tables.hpp"

#include <fmt/format.h>

#include <string>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "io/hdf5_data.hpp"
#include "io/table_columns.hpp"

namespace moebius::io {
namespace {

using enum ElementKind;

constexpr std::tuple timing_columns{
    column("/ranks/timing/rank", i32, "MPI rank", "1", [](auto& t) -> auto& { return t.rank; }),
    column("/ranks/timing/role", byte, "what the rank did: attention, expert, colocated", "UTF-8", [](auto& t) -> auto& { return t.role; }),
    column("/ranks/timing/node", byte, "host that the rank ran on", "UTF-8", [](auto& t) -> auto& { return t.node; }),
    column("/ranks/timing/phase", byte, "phase of the loop; phases do not overlap", "UTF-8", [](auto& t) -> auto& { return t.phase; }),
    column("/ranks/timing/seconds", f64, "time spent in the phase", "s", [](auto& t) -> auto& { return t.total.seconds; }),
    column("/ranks/timing/calls", i64, "how often the phase was entered", "1", [](auto& t) -> auto& { return t.total.calls; }),
    column("/ranks/timing/rows", i64, "rows worked on in the phase", "1", [](auto& t) -> auto& { return t.total.rows; }),
    column("/ranks/timing/bytes", i64, "bytes moved in the phase", "bytes", [](auto& t) -> auto& { return t.total.bytes; })};

constexpr std::tuple memory_columns{
    column("/ranks/memory/rank", i32, "MPI rank", "1", [](auto& m) -> auto& { return m.rank; }),
    column("/ranks/memory/peak_rss_bytes", i64, "largest resident set of the rank", "bytes",
           [](auto& m) -> auto& { return m.peak_rss_bytes; })};

constexpr std::tuple prefix_cache_columns{
    column("/ranks/prefix_cache/rank", i32, "MPI rank of an attention rank", "1", [](auto& c) -> auto& { return c.rank; }),
    column("/ranks/prefix_cache/root_tokens", i64, "tokens of contexts, prompts and windows of texts", "1",
           [](auto& c) -> auto& { return c.root_tokens; }),
    column("/ranks/prefix_cache/root_tokens_reused", i64,
           "of these, tokens that an earlier request began with and that were not computed again", "1",
           [](auto& c) -> auto& { return c.root_tokens_reused; }),
    column("/ranks/prefix_cache/kv_blocks_evicted", i64, "kv blocks kept for reuse that had to go", "1",
           [](auto& c) -> auto& { return c.kv_blocks_evicted; })};

constexpr std::tuple latency_columns{
    column("/ranks/latency/rank", i32, "MPI rank of an attention rank", "1", [](auto& l) -> auto& { return l.rank; }),
    column("/ranks/latency/inter_token_count", i64, "generated tokens that follow another one", "1",
           [](auto& l) -> auto& { return l.inter_token_count; }),
    column("/ranks/latency/inter_token_p50", f64, "time since the token before, median (within 0.5 %)", "s",
           [](auto& l) -> auto& { return l.inter_token_p50_s; }),
    column("/ranks/latency/inter_token_p99", f64, "time since the token before, 99 of 100 are shorter (within 0.5 %)", "s",
           [](auto& l) -> auto& { return l.inter_token_p99_s; }),
    column("/ranks/latency/inter_token_max", f64, "time since the token before, longest (within 0.5 %)", "s",
           [](auto& l) -> auto& { return l.inter_token_max_s; })};

constexpr std::tuple work_columns{
    column("/ranks/work/rank", i32, "MPI rank", "1", [](auto& w) -> auto& { return w.rank; }),
    column("/ranks/work/loop_seconds", f64, "length of the loop, without waiting for other ranks at its end", "s",
           [](auto& w) -> auto& { return w.loop_s; }),
    column("/ranks/work/tokens_fed", i64, "positions that the rank computed as an attention rank", "1",
           [](auto& w) -> auto& { return w.tokens_fed; }),
    column("/ranks/work/tokens_out", i64, "of these, tokens scored or generated", "1", [](auto& w) -> auto& { return w.tokens_out; }),
    column("/ranks/work/micro_batches", i64, "attention micro-batches of all layers", "1", [](auto& w) -> auto& { return w.micro_batches; }),
    column("/ranks/work/expert_calls", i64, "calls of one physical expert", "1", [](auto& w) -> auto& { return w.expert_calls; }),
    column("/ranks/work/expert_rows", i64, "rows of these calls", "1", [](auto& w) -> auto& { return w.expert_rows; }),
    column("/ranks/work/intervals_left_out", i64, "intervals that no longer fitted into /ranks/timeline", "1",
           [](auto& w) -> auto& { return w.intervals_left_out; }),
    new_column("/ranks/work/exposed_seconds", f64, "without work while a message to the rank was under way, nan where that was not measured", "s",
               [](auto& w) -> auto& { return w.exposed_s; })};

constexpr std::tuple timeline_columns{
    column("/ranks/timeline/rank", i32, "MPI rank", "1", [](auto& t) -> auto& { return t.rank; }),
    column("/ranks/timeline/phase", ElementKind::phase, "what the rank did", "1", [](auto& t) -> auto& { return t.interval.phase; }),
    column("/ranks/timeline/begin_s", f64, "begin, from the start of the loop", "s", [](auto& t) -> auto& { return t.interval.begin_s; }),
    column("/ranks/timeline/end_s", f64, "end, from the start of the loop", "s", [](auto& t) -> auto& { return t.interval.end_s; }),
    column("/ranks/timeline/layer", i32, "layer, num_layers: final norm and LM head; -1: none", "1",
           [](auto& t) -> auto& { return t.interval.stage.layer; }),
    column("/ranks/timeline/place", i32, "place of the physical expert on the rank, -1: none", "1",
           [](auto& t) -> auto& { return t.interval.stage.place; }),
    column("/ranks/timeline/rows", i64, "rows worked on", "1", [](auto& t) -> auto& { return t.interval.rows; }),
    new_column("/ranks/timeline/micro_batch", i32, "micro-batch of a pipeline, from the start of the run on, -1: none", "1",
               [](auto& t) -> auto& { return t.interval.stage.micro_batch; })};

constexpr std::tuple transfer_columns{
    column("/ranks/transfers/rank", i32, "MPI rank that the message came to", "1", [](auto& t) -> auto& { return t.rank; }),
    column("/ranks/transfers/from", i32, "MPI rank that sent it", "1", [](auto& t) -> auto& { return t.transfer.from; }),
    column("/ranks/transfers/begin_s", f64, "when it began to leave, from the start of the loop", "s", [](auto& t) -> auto& { return t.transfer.begin_s; }),
    column("/ranks/transfers/end_s", f64, "when it was taken, from the start of the loop", "s", [](auto& t) -> auto& { return t.transfer.end_s; }),
    column("/ranks/transfers/link_s", f64, "slow motion: time that it takes on a link, else 0", "s", [](auto& t) -> auto& { return t.transfer.link_s; }),
    column("/ranks/transfers/layer", i32, "layer", "1", [](auto& t) -> auto& { return t.transfer.layer; }),
    column("/ranks/transfers/micro_batch", i32, "micro-batch of a pipeline, from the start of the run on, -1: none", "1",
           [](auto& t) -> auto& { return t.transfer.micro_batch; }),
    column("/ranks/transfers/part", i32, "token part of the micro-batch, -1: none", "1", [](auto& t) -> auto& { return t.transfer.part; }),
    column("/ranks/transfers/call", i32, "outputs: of which expert call of the sender, from 0; -1: rows for experts", "1",
           [](auto& t) -> auto& { return t.transfer.call; }),
    column("/ranks/transfers/pairs", i64, "(row, expert) pairs", "1", [](auto& t) -> auto& { return t.transfer.pairs; }),
    column("/ranks/transfers/bytes", i64, "what really travelled: few where rows stay in shared memory", "bytes",
           [](auto& t) -> auto& { return t.transfer.bytes; })};

constexpr std::tuple series_columns{
    column("/ranks/series/rank", i32, "MPI rank", "1", [](auto& s) -> auto& { return s.rank; }),
    column("/ranks/series/time_s", f64, "moment, from the start of the loop", "s", [](auto& s) -> auto& { return s.point.time_s; }),
    column("/ranks/series/tokens_fed", i64, "positions computed so far", "1", [](auto& s) -> auto& { return s.point.tokens_fed; }),
    column("/ranks/series/tokens_out", i64, "tokens scored or generated so far", "1", [](auto& s) -> auto& { return s.point.tokens_out; }),
    column("/ranks/series/expert_rows", i64, "rows that the experts of the rank computed so far", "1",
           [](auto& s) -> auto& { return s.point.expert_rows; }),
    column("/ranks/series/queued_tokens", i64, "tokens in the attention queues at that moment", "1",
           [](auto& s) -> auto& { return s.point.queued_tokens; }),
    column("/ranks/series/queued_rows", i64, "rows in the expert queues at that moment", "1",
           [](auto& s) -> auto& { return s.point.queued_rows; })};
constexpr ArraySpec series_seconds{"/ranks/series/seconds", f64, "time spent so far in each phase [point, phase]", "s"};
constexpr ArraySpec series_phases{"/ranks/series/phase", byte, "the phases of seconds", "UTF-8"};

constexpr std::tuple change_columns{
    column("/rebalance/time", f64, "when the placement changed, from the start of the loop", "s", [](auto& c) -> auto& { return c.time_s; }),
    column("/rebalance/generation", i32, "generation of the placement that began", "1", [](auto& c) -> auto& { return c.generation; }),
    column("/rebalance/predicted", f64, "time that the change was to save", "s", [](auto& c) -> auto& { return c.predicted_gain_s; }),
    column("/rebalance/measured", f64, "time that it saved, nan where that was not measured", "s", [](auto& c) -> auto& { return c.measured_gain_s; }),
    column("/rebalance/cost", f64, "time that the change was to cost", "s", [](auto& c) -> auto& { return c.cost_s; }),
    column("/rebalance/staging", f64, "from the announcement of the change until it began", "s", [](auto& c) -> auto& { return c.staging_s; }),
    column("/rebalance/moves", i32, "experts that went to another rank", "1", [](auto& c) -> auto& { return c.num_moves; }),
    new_column("/rebalance/bytes", i64, "their weights", "bytes", [](auto& c) -> auto& { return c.bytes; }),
    new_column("/rebalance/rank_seconds", f64, "time that ranks spent copying them, sum of ranks, nan where that was not measured", "s",
               [](auto& c) -> auto& { return c.rank_s; })};

constexpr std::tuple rebalance_columns{
    column("/rebalance/ranks/rank", i32, "MPI rank", "1", [](auto& r) -> auto& { return r.rank; }),
    column("/rebalance/ranks/experts_received", i64, "experts that came to the rank", "1", [](auto& r) -> auto& { return r.experts_received; }),
    column("/rebalance/ranks/bytes_staged", i64, "their weights", "bytes", [](auto& r) -> auto& { return r.bytes_staged; }),
    column("/rebalance/ranks/staging_seconds", f64, "time spent copying them", "s", [](auto& r) -> auto& { return r.staging_s; }),
    column("/rebalance/ranks/total_seconds", f64, "all time that the loop spent on the placement", "s", [](auto& r) -> auto& { return r.total_s; }),
    column("/rebalance/ranks/largest_stall", f64, "most that one turn of the loop spent on the placement", "s",
           [](auto& r) -> auto& { return r.largest_stall_s; }),
    column("/rebalance/ranks/longest_expert_call", f64, "longest expert call of the rank, 0 without experts", "s",
           [](auto& r) -> auto& { return r.longest_expert_call_s; })};

constexpr ArraySpec expert_load{"/experts/load", i64, "rows per routed expert [layer, expert]", "1"};
constexpr ArraySpec expert_placement{"/experts/placement", i32,
                                     "logical expert at [generation, layer, rank, place], -1 where there is none", "1"};
constexpr ArraySpec trace_rows{"/experts/trace/rows", i32, "rows per routed expert [step, layer, expert]", "1"};
constexpr ArraySpec trace_step_tokens{"/experts/trace/step_tokens", i64, "tokens of a step, per attention rank; 0: not recorded", "1"};

constexpr ArraySpec activation_bytes{"/experts/activation/expert_weight_bytes", i64, "weights of one physical expert", "bytes"};
struct LayerArray {
  ArraySpec spec;
  std::vector<std::int64_t> ExpertActivation::*values;
};
constexpr LayerArray activation_of_layers[] = {
    {{"/experts/activation/micro_batches", i64, "micro-batches sent to experts [layer]", "1"}, &ExpertActivation::micro_batches},
    {{"/experts/activation/even_micro_batches", i64, "of these, with rows dealt out to all replicas [layer]", "1"},
     &ExpertActivation::even_micro_batches},
    {{"/experts/activation/largest_activated", i64, "sum over micro-batches of the most physical experts with rows on a rank [layer]", "1"},
     &ExpertActivation::largest_activated},
    {{"/experts/activation/largest_rows", i64, "sum over micro-batches of the most rows on a rank [layer]", "1"},
     &ExpertActivation::largest_rows}};
constexpr LayerArray activation_of_ranks[] = {
    {{"/experts/activation/activated", i64, "sum over micro-batches of physical experts with rows [layer, rank]", "1"}, &ExpertActivation::activated},
    {{"/experts/activation/rows", i64, "sum over micro-batches of rows [layer, rank]", "1"}, &ExpertActivation::rows},
    {{"/experts/activation/max_activated", i64, "most physical experts with rows in a micro-batch [layer, rank]", "1"},
     &ExpertActivation::max_activated},
    {{"/experts/activation/max_rows", i64, "most rows in a micro-batch [layer, rank]", "1"}, &ExpertActivation::max_rows}};

struct CapacityArray {
  ArraySpec spec;
  std::vector<std::int64_t> CapacityTable::*values;
};
constexpr CapacityArray capacity_arrays[] = {
    {{"/experts/capacity/micro_batches", i64, "micro-batches [layer]", "1"}, &CapacityTable::micro_batches},
    {{"/experts/capacity/cut", i64, "of these, those that were large enough to have a capacity [layer]", "1"}, &CapacityTable::cut},
    {{"/experts/capacity/kept", i64, "(row, expert) pairs that the router chose and that stayed [layer]", "1"}, &CapacityTable::kept},
    {{"/experts/capacity/dropped", i64, "pairs that the router chose and that were neither sent nor computed [layer]", "1"}, &CapacityTable::dropped},
    {{"/experts/capacity/added", i64, "pairs that the router had not chosen [layer]", "1"}, &CapacityTable::added}};

std::int64_t read_number(hid_t file, const ArraySpec& spec) {
  std::vector<hsize_t> dims;
  const std::vector<std::int64_t> values = read_all<std::int64_t>(file, spec, 1, dims);
  if (values.size() != 1) wrong_shape(spec.path, "it is not one number");
  return values[0];
}

void write_activation(hid_t file, const ExpertActivation& a) {
  const hsize_t one[] = {1}, layers[] = {static_cast<hsize_t>(a.num_layers)}, ranks[] = {layers[0], static_cast<hsize_t>(a.num_ranks)};
  write_array(file, activation_bytes, one, &a.expert_weight_bytes);
  for (const auto& [spec, values] : activation_of_layers) {
    MOEBIUS_EXPECT((a.*values).size() == layers[0]);
    write_array(file, spec, layers, (a.*values).data());
  }
  for (const auto& [spec, values] : activation_of_ranks) {
    MOEBIUS_EXPECT((a.*values).size() == ranks[0] * ranks[1]);
    write_array(file, spec, ranks, (a.*values).data());
  }
}

void write_series(hid_t file, const std::vector<RankSeriesPoint>& points) {
  write_table(file, points, series_columns);
  std::vector<double> seconds;  // [points, phases]
  for (const RankSeriesPoint& p : points) seconds.insert(seconds.end(), p.point.seconds.begin(), p.point.seconds.end());
  const hsize_t dims[] = {points.size(), num_phases};
  write_array(file, series_seconds, dims, seconds.data());
  std::vector<std::string> phases;
  for (std::size_t i = 0; i < num_phases; ++i) phases.emplace_back(to_string(static_cast<Phase>(i)));
  write_strings(file, series_phases, phases);
}

}  // namespace

void wrong_shape(const char* path, const std::string& why) {
  throw Failure{ExitCode::unreadable_input, fmt::format("cannot read {} ({}) check that the file was written by moebius", path, why)};
}

Phase phase_named(const std::string& name) {
  for (std::size_t i = 0; i < num_phases; ++i)
    if (to_string(static_cast<Phase>(i)) == name) return static_cast<Phase>(i);
  throw Failure{ExitCode::unreadable_input, fmt::format("cannot read the phase {} (there is none of this name) read the file with the version that "
                                                        "wrote it",
                                                        name)};
}

void write_run_tables(hid_t file, const RunRecord& record) {
  write_table(file, record.timing, timing_columns);
  write_table(file, record.memory, memory_columns);
  write_table(file, record.prefix_caches, prefix_cache_columns);
  write_table(file, record.latencies, latency_columns);
  write_table(file, record.work, work_columns);
  write_table(file, record.timeline, timeline_columns);
  write_table(file, record.transfers, transfer_columns);
  write_series(file, record.series);
  write_table(file, record.changes, change_columns);
  write_table(file, record.rebalance, rebalance_columns);

  const ExpertLoad& load = record.load;
  const hsize_t load_dims[] = {static_cast<hsize_t>(load.num_layers), static_cast<hsize_t>(load.num_experts)};
  MOEBIUS_EXPECT(load.rows.size() == load_dims[0] * load_dims[1]);
  write_array(file, expert_load, load_dims, load.rows.data());
  const PlacementHistory& p = record.placement;
  const hsize_t dims[] = {static_cast<hsize_t>(p.num_generations), static_cast<hsize_t>(p.num_layers),
                          static_cast<hsize_t>(p.num_ranks), static_cast<hsize_t>(p.num_places)};
  MOEBIUS_EXPECT(p.expert.size() == dims[0] * dims[1] * dims[2] * dims[3]);
  write_array(file, expert_placement, dims, p.expert.data());
  const RoutingTrace& t = record.trace;
  const hsize_t trace_dims[] = {static_cast<hsize_t>(t.num_steps), static_cast<hsize_t>(t.num_layers), static_cast<hsize_t>(t.num_experts)};
  MOEBIUS_EXPECT(t.rows.size() == trace_dims[0] * trace_dims[1] * trace_dims[2]);
  write_array(file, trace_rows, trace_dims, t.rows.data());
  const hsize_t one[] = {1};
  write_array(file, trace_step_tokens, one, &t.step_tokens);
  write_activation(file, record.activation);
  for (const auto& [spec, values] : capacity_arrays) {
    const hsize_t layers[] = {(record.capacity.*values).size()};
    write_array(file, spec, layers, (record.capacity.*values).data());
  }
}

std::vector<RankTiming> read_timing(hid_t file) { return read_table<RankTiming>(file, timing_columns); }
std::vector<RankMemory> read_memory(hid_t file) { return read_table<RankMemory>(file, memory_columns); }
std::vector<RankPrefixCache> read_prefix_caches(hid_t file) { return read_table<RankPrefixCache>(file, prefix_cache_columns); }
std::vector<RankLatency> read_latencies(hid_t file) { return read_table<RankLatency>(file, latency_columns); }
std::vector<RankWork> read_work(hid_t file) { return read_table<RankWork>(file, work_columns); }
std::vector<RankRebalance> read_rebalance(hid_t file) { return read_table<RankRebalance>(file, rebalance_columns); }
std::vector<PlacementChange> read_placement_changes(hid_t file) { return read_table<PlacementChange>(file, change_columns); }

std::vector<RankTransfer> read_transfers(hid_t file) { return read_table<RankTransfer>(file, transfer_columns); }

std::vector<RankInterval> read_timeline(hid_t file) {
  std::vector<RankInterval> timeline = read_table<RankInterval>(file, timeline_columns);
  for (const RankInterval& one : timeline) {
    if (static_cast<std::size_t>(one.interval.phase) >= num_phases) wrong_shape("/ranks/timeline/phase", "it holds phases that have no name");
  }
  return timeline;
}

std::vector<RankSeriesPoint> read_series(hid_t file) {
  std::vector<RankSeriesPoint> points = read_table<RankSeriesPoint>(file, series_columns);
  if (points.empty()) return points;
  std::vector<hsize_t> dims;
  const std::vector<double> seconds = read_all<double>(file, series_seconds, 2, dims);
  const std::vector<std::string> phases = read_strings(file, series_phases.path);
  if (dims[0] != points.size() || dims[1] != phases.size()) wrong_shape(series_seconds.path, "its length does not agree with its table");
  for (std::size_t i = 0; i < seconds.size(); ++i) {
    points[i / phases.size()].point.seconds[static_cast<std::size_t>(phase_named(phases[i % phases.size()]))] = seconds[i];
  }
  return points;
}

ExpertLoad read_expert_load(hid_t file) {
  std::vector<hsize_t> dims;
  ExpertLoad load;
  if (!has_array(file, expert_load.path)) return load;
  load.rows = read_all<std::int64_t>(file, expert_load, 2, dims);
  load.num_layers = static_cast<int>(dims[0]);
  load.num_experts = static_cast<int>(dims[1]);
  return load;
}

PlacementHistory read_placement(hid_t file) {
  std::vector<hsize_t> dims;
  PlacementHistory placement;
  if (!has_array(file, expert_placement.path)) return placement;
  placement.expert = read_all<std::int32_t>(file, expert_placement, 4, dims);
  placement.num_generations = static_cast<int>(dims[0]);
  placement.num_layers = static_cast<int>(dims[1]);
  placement.num_ranks = static_cast<int>(dims[2]);
  placement.num_places = static_cast<int>(dims[3]);
  return placement;
}

ExpertActivation read_expert_activation(hid_t file) {
  std::vector<hsize_t> dims;
  ExpertActivation activation;
  if (!has_array(file, activation_bytes.path)) return activation;
  activation.expert_weight_bytes = read_number(file, activation_bytes);
  for (const auto& [spec, values] : activation_of_layers) activation.*values = read_all<std::int64_t>(file, spec, 1, dims);
  for (const auto& [spec, values] : activation_of_ranks) activation.*values = read_all<std::int64_t>(file, spec, 2, dims);
  activation.num_layers = static_cast<int>(dims[0]);
  activation.num_ranks = static_cast<int>(dims[1]);
  return activation;
}

CapacityTable read_capacity(hid_t file) {
  std::vector<hsize_t> dims;
  CapacityTable table;
  if (!has_array(file, capacity_arrays[0].spec.path)) return table;
  for (const auto& [spec, values] : capacity_arrays) table.*values = read_all<std::int64_t>(file, spec, 1, dims);
  return table;
}

RoutingTrace read_routing_trace(hid_t file) {
  std::vector<hsize_t> dims;
  RoutingTrace trace;
  if (!has_array(file, trace_rows.path)) return trace;
  trace.rows = read_all<std::int32_t>(file, trace_rows, 3, dims);
  trace.num_steps = static_cast<int>(dims[0]);
  trace.num_layers = static_cast<int>(dims[1]);
  trace.num_experts = static_cast<int>(dims[2]);
  trace.step_tokens = read_number(file, trace_step_tokens);
  return trace;
}

}  // namespace moebius::io
