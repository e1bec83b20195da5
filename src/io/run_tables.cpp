// SPDX-License-Identifier: Apache-2.0
#include "io/run_tables.hpp"

#include <fmt/format.h>

#include <string>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "io/hdf5_data.hpp"

namespace moebius::io {
namespace {

using enum ElementKind;

constexpr ArraySpec timing_rank{"/ranks/timing/rank", i32, "MPI rank", "1"};
constexpr ArraySpec timing_role{"/ranks/timing/role", byte, "what the rank did: attention, expert, colocated", "UTF-8"};
constexpr ArraySpec timing_node{"/ranks/timing/node", byte, "host that the rank ran on", "UTF-8"};
constexpr ArraySpec timing_phase{"/ranks/timing/phase", byte, "phase of the loop; phases do not overlap", "UTF-8"};
constexpr ArraySpec timing_seconds{"/ranks/timing/seconds", f64, "time spent in the phase", "s"};
constexpr ArraySpec timing_calls{"/ranks/timing/calls", i64, "how often the phase was entered", "1"};
constexpr ArraySpec timing_rows{"/ranks/timing/rows", i64, "rows worked on in the phase", "1"};
constexpr ArraySpec timing_bytes{"/ranks/timing/bytes", i64, "bytes moved in the phase", "bytes"};
constexpr ArraySpec memory_rank{"/ranks/memory/rank", i32, "MPI rank", "1"};
constexpr ArraySpec memory_peak{"/ranks/memory/peak_rss_bytes", i64, "largest resident set of the rank", "bytes"};
constexpr ArraySpec prefix_rank{"/ranks/prefix_cache/rank", i32, "MPI rank of an attention rank", "1"};
constexpr ArraySpec prefix_tokens{"/ranks/prefix_cache/root_tokens", i64, "tokens of contexts, prompts and windows of texts", "1"};
constexpr ArraySpec prefix_reused{"/ranks/prefix_cache/root_tokens_reused", i64,
                                  "of these, tokens that an earlier request began with and that were not computed again", "1"};
constexpr ArraySpec prefix_evicted{"/ranks/prefix_cache/kv_blocks_evicted", i64, "kv blocks kept for reuse that had to go", "1"};
constexpr ArraySpec latency_rank{"/ranks/latency/rank", i32, "MPI rank of an attention rank", "1"};
constexpr ArraySpec latency_count{"/ranks/latency/inter_token_count", i64, "generated tokens that follow another one", "1"};
constexpr ArraySpec latency_p50{"/ranks/latency/inter_token_p50", f64, "time since the token before, median (within 0.5 %)", "s"};
constexpr ArraySpec latency_p99{"/ranks/latency/inter_token_p99", f64, "time since the token before, 99 of 100 are shorter (within 0.5 %)", "s"};
constexpr ArraySpec latency_max{"/ranks/latency/inter_token_max", f64, "time since the token before, longest (within 0.5 %)", "s"};
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

constexpr ArraySpec change_time{"/rebalance/time", f64, "when the placement changed, from the start of the loop", "s"};
constexpr ArraySpec change_generation{"/rebalance/generation", i32, "generation of the placement that began", "1"};
constexpr ArraySpec change_predicted{"/rebalance/predicted", f64, "time that the change was to save", "s"};
constexpr ArraySpec change_measured{"/rebalance/measured", f64, "time that it saved, nan where that was not measured", "s"};
constexpr ArraySpec change_cost{"/rebalance/cost", f64, "time that the change was to cost", "s"};
constexpr ArraySpec change_staging{"/rebalance/staging", f64, "from the announcement of the change until it began", "s"};
constexpr ArraySpec change_moves{"/rebalance/moves", i32, "experts that went to another rank", "1"};
constexpr ArraySpec rebalance_rank{"/rebalance/ranks/rank", i32, "MPI rank", "1"};
constexpr ArraySpec rebalance_experts{"/rebalance/ranks/experts_received", i64, "experts that came to the rank", "1"};
constexpr ArraySpec rebalance_bytes{"/rebalance/ranks/bytes_staged", i64, "their weights", "bytes"};
constexpr ArraySpec rebalance_staging{"/rebalance/ranks/staging_seconds", f64, "time spent copying them", "s"};
constexpr ArraySpec rebalance_total{"/rebalance/ranks/total_seconds", f64, "all time that the loop spent on the placement", "s"};
constexpr ArraySpec rebalance_stall{"/rebalance/ranks/largest_stall", f64, "most that one turn of the loop spent on the placement", "s"};
constexpr ArraySpec rebalance_call{"/rebalance/ranks/longest_expert_call", f64, "longest expert call of the rank, 0 without experts", "s"};

/// One field of every record, written as a column.
template <class Value, class Records, class Field>
void write_column(hid_t file, const ArraySpec& spec, const Records& records, Field field) {
  std::vector<Value> values;
  for (const auto& record : records) values.push_back(static_cast<Value>(field(record)));
  const hsize_t dims[] = {values.size()};
  write_array(file, spec, dims, values.data());
}

template <class Records, class Field>
void write_names(hid_t file, const ArraySpec& spec, const Records& records, Field field) {
  std::vector<std::string> values;
  for (const auto& record : records) values.emplace_back(field(record));
  write_strings(file, spec, values);
}

/// All of an array with so many dimensions; its shape goes to `dims`.
template <class Value>
std::vector<Value> read_all(hid_t file, const ArraySpec& spec, std::size_t num_dims, std::vector<hsize_t>& dims) {
  const OpenArray array = open_array(file, spec.path);
  if (array.dims.size() != num_dims)
    throw Failure{ExitCode::unreadable_input, fmt::format("cannot read {} (it has {} dimensions, not {}) check that "
                                                          "the file was written by moebius",
                                                          spec.path, array.dims.size(), num_dims)};
  dims = array.dims;
  hsize_t size = 1;
  for (const hsize_t dim : dims) size *= dim;
  std::vector<Value> values(size);
  read_array(array, spec, 0, dims[0], values.data());
  return values;
}

template <class Value>
std::vector<Value> read_column(hid_t file, const ArraySpec& spec, std::size_t num_rows) {
  std::vector<hsize_t> dims;
  std::vector<Value> values = read_all<Value>(file, spec, 1, dims);
  if (values.size() != num_rows)
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("cannot read {} (its length does not agree with its table) check that the file was "
                              "written by moebius",
                              spec.path)};
  return values;
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

void write_rebalance(hid_t file, const std::vector<RankRebalance>& ranks) {
  write_column<std::int32_t>(file, rebalance_rank, ranks, [](const RankRebalance& r) { return r.rank; });
  write_column<std::int64_t>(file, rebalance_experts, ranks, [](const RankRebalance& r) { return r.experts_received; });
  write_column<std::int64_t>(file, rebalance_bytes, ranks, [](const RankRebalance& r) { return r.bytes_staged; });
  write_column<double>(file, rebalance_staging, ranks, [](const RankRebalance& r) { return r.staging_s; });
  write_column<double>(file, rebalance_total, ranks, [](const RankRebalance& r) { return r.total_s; });
  write_column<double>(file, rebalance_stall, ranks, [](const RankRebalance& r) { return r.largest_stall_s; });
  write_column<double>(file, rebalance_call, ranks, [](const RankRebalance& r) { return r.longest_expert_call_s; });
}

Phase phase_named(const std::string& name) {
  for (std::size_t i = 0; i < num_phases; ++i)
    if (to_string(static_cast<Phase>(i)) == name) return static_cast<Phase>(i);
  throw Failure{ExitCode::unreadable_input, fmt::format("cannot read /ranks/timing/phase (it holds the unknown phase "
                                                        "{}) read the file with the version that wrote it",
                                                        name)};
}

}  // namespace

void write_run_tables(hid_t file, const RunRecord& record) {
  const auto& timing = record.timing;
  write_column<std::int32_t>(file, timing_rank, timing, [](const RankTiming& t) { return t.rank; });
  write_names(file, timing_role, timing, [](const RankTiming& t) { return t.role; });
  write_names(file, timing_node, timing, [](const RankTiming& t) { return t.node; });
  write_names(file, timing_phase, timing, [](const RankTiming& t) { return to_string(t.phase); });
  write_column<double>(file, timing_seconds, timing, [](const RankTiming& t) { return t.total.seconds; });
  write_column<std::int64_t>(file, timing_calls, timing, [](const RankTiming& t) { return t.total.calls; });
  write_column<std::int64_t>(file, timing_rows, timing, [](const RankTiming& t) { return t.total.rows; });
  write_column<std::int64_t>(file, timing_bytes, timing, [](const RankTiming& t) { return t.total.bytes; });
  write_column<std::int32_t>(file, memory_rank, record.memory, [](const RankMemory& m) { return m.rank; });
  write_column<std::int64_t>(file, memory_peak, record.memory, [](const RankMemory& m) { return m.peak_rss_bytes; });
  const auto& caches = record.prefix_caches;
  write_column<std::int32_t>(file, prefix_rank, caches, [](const RankPrefixCache& c) { return c.rank; });
  write_column<std::int64_t>(file, prefix_tokens, caches, [](const RankPrefixCache& c) { return c.root_tokens; });
  write_column<std::int64_t>(file, prefix_reused, caches, [](const RankPrefixCache& c) { return c.root_tokens_reused; });
  write_column<std::int64_t>(file, prefix_evicted, caches, [](const RankPrefixCache& c) { return c.kv_blocks_evicted; });
  const auto& latencies = record.latencies;
  write_column<std::int32_t>(file, latency_rank, latencies, [](const RankLatency& l) { return l.rank; });
  write_column<std::int64_t>(file, latency_count, latencies, [](const RankLatency& l) { return l.inter_token_count; });
  write_column<double>(file, latency_p50, latencies, [](const RankLatency& l) { return l.inter_token_p50_s; });
  write_column<double>(file, latency_p99, latencies, [](const RankLatency& l) { return l.inter_token_p99_s; });
  write_column<double>(file, latency_max, latencies, [](const RankLatency& l) { return l.inter_token_max_s; });

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
  const auto& changes = record.changes;
  write_column<double>(file, change_time, changes, [](const PlacementChange& c) { return c.time_s; });
  write_column<std::int32_t>(file, change_generation, changes, [](const PlacementChange& c) { return c.generation; });
  write_column<double>(file, change_predicted, changes, [](const PlacementChange& c) { return c.predicted_gain_s; });
  write_column<double>(file, change_measured, changes, [](const PlacementChange& c) { return c.measured_gain_s; });
  write_column<double>(file, change_cost, changes, [](const PlacementChange& c) { return c.cost_s; });
  write_column<double>(file, change_staging, changes, [](const PlacementChange& c) { return c.staging_s; });
  write_column<std::int32_t>(file, change_moves, changes, [](const PlacementChange& c) { return c.num_moves; });
  write_rebalance(file, record.rebalance);
}

std::vector<RankTiming> read_timing(hid_t file) {
  const std::vector<std::string> roles = read_strings(file, timing_role.path);
  const std::vector<std::string> nodes = read_strings(file, timing_node.path);
  const std::vector<std::string> phases = read_strings(file, timing_phase.path);
  const std::size_t n = phases.size();
  if (roles.size() != n || nodes.size() != n)
    throw Failure{ExitCode::unreadable_input,
                  "cannot read /ranks/timing (its columns differ in length) check that the "
                  "file was written by moebius"};
  const auto ranks = read_column<std::int32_t>(file, timing_rank, n);
  const auto seconds = read_column<double>(file, timing_seconds, n);
  const auto calls = read_column<std::int64_t>(file, timing_calls, n);
  const auto rows = read_column<std::int64_t>(file, timing_rows, n);
  const auto bytes = read_column<std::int64_t>(file, timing_bytes, n);
  std::vector<RankTiming> timing;
  for (std::size_t i = 0; i < n; ++i)
    timing.push_back({.rank = ranks[i],
                      .role = roles[i],
                      .node = nodes[i],
                      .phase = phase_named(phases[i]),
                      .total = {.seconds = seconds[i], .calls = calls[i], .rows = rows[i], .bytes = bytes[i]}});
  return timing;
}

std::vector<RankMemory> read_memory(hid_t file) {
  std::vector<hsize_t> dims;
  const auto peaks = read_all<std::int64_t>(file, memory_peak, 1, dims);
  const auto ranks = read_column<std::int32_t>(file, memory_rank, peaks.size());
  std::vector<RankMemory> memory;
  for (std::size_t i = 0; i < peaks.size(); ++i) memory.push_back({.rank = ranks[i], .peak_rss_bytes = peaks[i]});
  return memory;
}

std::vector<RankPrefixCache> read_prefix_caches(hid_t file) {
  std::vector<hsize_t> dims;
  const auto tokens = read_all<std::int64_t>(file, prefix_tokens, 1, dims);
  const auto ranks = read_column<std::int32_t>(file, prefix_rank, tokens.size());
  const auto reused = read_column<std::int64_t>(file, prefix_reused, tokens.size());
  const auto evicted = read_column<std::int64_t>(file, prefix_evicted, tokens.size());
  std::vector<RankPrefixCache> caches;
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    caches.push_back({.rank = ranks[i], .root_tokens = tokens[i], .root_tokens_reused = reused[i], .kv_blocks_evicted = evicted[i]});
  }
  return caches;
}

std::vector<RankLatency> read_latencies(hid_t file) {
  std::vector<hsize_t> dims;
  const auto ranks = read_all<std::int32_t>(file, latency_rank, 1, dims);
  const auto counts = read_column<std::int64_t>(file, latency_count, ranks.size());
  const auto p50 = read_column<double>(file, latency_p50, ranks.size());
  const auto p99 = read_column<double>(file, latency_p99, ranks.size());
  const auto longest = read_column<double>(file, latency_max, ranks.size());
  std::vector<RankLatency> latencies;
  for (std::size_t i = 0; i < ranks.size(); ++i) latencies.push_back({ranks[i], counts[i], p50[i], p99[i], longest[i]});
  return latencies;
}

ExpertLoad read_expert_load(hid_t file) {
  std::vector<hsize_t> dims;
  ExpertLoad load;
  load.rows = read_all<std::int64_t>(file, expert_load, 2, dims);
  load.num_layers = static_cast<int>(dims[0]);
  load.num_experts = static_cast<int>(dims[1]);
  return load;
}

PlacementHistory read_placement(hid_t file) {
  std::vector<hsize_t> dims;
  PlacementHistory placement;
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
  activation.expert_weight_bytes = read_column<std::int64_t>(file, activation_bytes, 1)[0];
  for (const auto& [spec, values] : activation_of_layers) activation.*values = read_all<std::int64_t>(file, spec, 1, dims);
  for (const auto& [spec, values] : activation_of_ranks) activation.*values = read_all<std::int64_t>(file, spec, 2, dims);
  activation.num_layers = static_cast<int>(dims[0]);
  activation.num_ranks = static_cast<int>(dims[1]);
  return activation;
}

CapacityTable read_capacity(hid_t file) {
  std::vector<hsize_t> dims;
  CapacityTable table;
  for (const auto& [spec, values] : capacity_arrays) table.*values = read_all<std::int64_t>(file, spec, 1, dims);
  return table;
}

RoutingTrace read_routing_trace(hid_t file) {
  std::vector<hsize_t> dims;
  RoutingTrace trace;
  trace.rows = read_all<std::int32_t>(file, trace_rows, 3, dims);
  trace.num_steps = static_cast<int>(dims[0]);
  trace.num_layers = static_cast<int>(dims[1]);
  trace.num_experts = static_cast<int>(dims[2]);
  trace.step_tokens = read_column<std::int64_t>(file, trace_step_tokens, 1)[0];
  return trace;
}

std::vector<PlacementChange> read_placement_changes(hid_t file) {
  std::vector<hsize_t> dims;
  const std::vector<double> times = read_all<double>(file, change_time, 1, dims);
  const auto generations = read_column<std::int32_t>(file, change_generation, times.size());
  const auto predicted = read_column<double>(file, change_predicted, times.size());
  const auto measured = read_column<double>(file, change_measured, times.size());
  const auto costs = read_column<double>(file, change_cost, times.size());
  const auto stagings = read_column<double>(file, change_staging, times.size());
  const auto moves = read_column<std::int32_t>(file, change_moves, times.size());
  std::vector<PlacementChange> changes;
  for (std::size_t i = 0; i < times.size(); ++i) {
    changes.push_back({times[i], generations[i], predicted[i], measured[i], costs[i], stagings[i], moves[i]});
  }
  return changes;
}

std::vector<RankRebalance> read_rebalance(hid_t file) {
  std::vector<hsize_t> dims;
  const auto ranks = read_all<std::int32_t>(file, rebalance_rank, 1, dims);
  const auto experts = read_column<std::int64_t>(file, rebalance_experts, ranks.size());
  const auto bytes = read_column<std::int64_t>(file, rebalance_bytes, ranks.size());
  const auto staging = read_column<double>(file, rebalance_staging, ranks.size());
  const auto total = read_column<double>(file, rebalance_total, ranks.size());
  const auto stalls = read_column<double>(file, rebalance_stall, ranks.size());
  const auto calls = read_column<double>(file, rebalance_call, ranks.size());
  std::vector<RankRebalance> table;
  for (std::size_t i = 0; i < ranks.size(); ++i) table.push_back({ranks[i], experts[i], bytes[i], staging[i], total[i], stalls[i], calls[i]});
  return table;
}

}  // namespace moebius::io
