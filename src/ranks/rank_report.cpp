// SPDX-License-Identifier: Apache-2.0
#include "ranks/rank_report.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <cstring>
#include <numeric>
#include <type_traits>

#include "base/check.hpp"

namespace moebius::ranks {
namespace {

/// Appends plain values, texts and vectors of either.
class Packer {
 public:
  template <class T>
  void operator()(const T& value) {
    if constexpr (std::is_trivially_copyable_v<T>) {
      const auto bytes = std::as_bytes(std::span(&value, 1));
      bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    } else {
      (*this)(static_cast<std::uint64_t>(value.size()));
      for (const auto& item : value) (*this)(item);
    }
  }
  template <class A, class B>
  void operator()(const std::pair<A, B>& value) {
    (*this)(value.first);
    (*this)(value.second);
  }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

class Unpacker {
 public:
  explicit Unpacker(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class T>
  void operator()(T& value) {
    if constexpr (std::is_trivially_copyable_v<T>) {
      MOEBIUS_EXPECT(sizeof(T) <= bytes_.size());
      std::memcpy(&value, bytes_.data(), sizeof(T));
      bytes_ = bytes_.subspan(sizeof(T));
    } else {
      std::uint64_t size = 0;
      (*this)(size);
      MOEBIUS_EXPECT(size <= bytes_.size());
      value.resize(size);
      for (auto& item : value) (*this)(item);
    }
  }
  template <class A, class B>
  void operator()(std::pair<A, B>& value) {
    (*this)(value.first);
    (*this)(value.second);
  }

 private:
  std::span<const std::byte> bytes_;
};

/// The one list of what a report holds, for both directions.
template <class Report, class Archive>
void visit(Report& report, Archive& archive) {
  archive(report.rank);
  archive(report.role);
  archive(report.node);
  archive(report.loop_s);
  archive(report.num_unknown_fields);
  archive(report.peak_rss_bytes);
  archive(report.memory);
  archive(report.phases);
  archive(report.attention);
  archive(report.work);
  archive(report.kv_blocks_evicted);
  archive(report.inter_token_buckets);
  archive(report.experts);
  archive(report.load);
  archive(report.activation.num_layers);
  archive(report.activation.num_ranks);
  archive(report.activation.micro_batches);
  archive(report.activation.even_micro_batches);
  archive(report.activation.largest_activated);
  archive(report.activation.largest_rows);
  archive(report.activation.activated);
  archive(report.activation.rows);
  archive(report.activation.max_activated);
  archive(report.activation.max_rows);
  archive(report.capacity);
  archive(report.emulation);
  archive(report.pipeline_choices);
  archive(report.trace.step_tokens);
  archive(report.trace.num_steps);
  archive(report.trace.num_layers);
  archive(report.trace.num_experts);
  archive(report.trace.rows);
  archive(report.live.is_on);
  archive(report.live.counters);
  archive(report.live.longest_expert_call_s);
  archive(report.live.num_spare);
  archive(report.live.changes);
  archive(report.live.moves);
  archive(report.series);
  archive(report.timeline);
  archive(report.transfers);
  archive(report.intervals_left_out);
  archive(report.exposed_s);
}

void fill_activation(io::ExpertActivation& table, const std::vector<RankReport>& reports) {
  policy::ActivationCounters sum = all_activation(reports);
  table = {.num_layers = sum.num_layers,
           .num_ranks = sum.num_ranks,
           .micro_batches = std::move(sum.micro_batches),
           .even_micro_batches = std::move(sum.even_micro_batches),
           .largest_activated = std::move(sum.largest_activated),
           .largest_rows = std::move(sum.largest_rows),
           .activated = std::move(sum.activated),
           .rows = std::move(sum.rows),
           .max_activated = std::move(sum.max_activated),
           .max_rows = std::move(sum.max_rows)};
}

void fill_capacity(io::CapacityTable& table, const std::vector<RankReport>& reports) {
  std::vector<policy::CapacityCounters> sums;
  for (const RankReport& report : reports) {
    sums.resize(std::max(sums.size(), report.capacity.size()));
    for (std::size_t layer = 0; layer < report.capacity.size(); ++layer) sums[layer].add(report.capacity[layer]);
  }
  for (const policy::CapacityCounters& layer : sums) {
    table.micro_batches.push_back(layer.micro_batches);
    table.cut.push_back(layer.cut);
    table.kept.push_back(layer.kept);
    table.dropped.push_back(layer.dropped);
    table.added.push_back(layer.added);
  }
}

}  // namespace

policy::ActivationCounters all_activation(const std::vector<RankReport>& reports) {
  policy::ActivationCounters sum;
  for (const RankReport& report : reports) sum.add(report.activation);
  return sum;
}

LatencyHistogram all_inter_token_times(const std::vector<RankReport>& reports) {
  LatencyHistogram all;
  for (const RankReport& report : reports) all.add(LatencyHistogram::from_buckets(report.inter_token_buckets));
  return all;
}

ActivationSummary summarise_activation(const std::vector<RankReport>& reports, std::size_t num_expert_ranks) {
  const policy::ActivationCounters sum = all_activation(reports);
  const auto total = [](const std::vector<std::int64_t>& values) { return static_cast<double>(std::accumulate(values.begin(), values.end(), std::int64_t{0})); };
  ActivationSummary summary;
  const double micro_batches = total(sum.micro_batches);
  if (micro_batches == 0) return summary;
  const double cells = micro_batches * static_cast<double>(num_expert_ranks);
  summary.activated_max = total(sum.largest_activated) / micro_batches;
  summary.activated_mean = total(sum.activated) / cells;
  summary.rows_max = total(sum.largest_rows) / micro_batches;
  summary.rows_mean = total(sum.rows) / cells;
  summary.even_share = total(sum.even_micro_batches) / micro_batches;
  return summary;
}

std::vector<std::byte> to_bytes(const RankReport& report) {
  Packer packer;
  visit(report, packer);
  return packer.take();
}

RankReport report_from_bytes(std::span<const std::byte> bytes) {
  RankReport report;
  Unpacker unpacker(bytes);
  visit(report, unpacker);
  return report;
}

void fill_rank_tables(io::RunRecord& record, const std::vector<RankReport>& reports, const JobSetup& setup) {
  const int num_layers = setup.config.num_layers, num_experts = setup.config.num_experts;
  record.load = {.num_layers = num_layers, .num_experts = num_experts,
                 .rows = std::vector<std::int64_t>(static_cast<std::size_t>(num_layers) * static_cast<std::size_t>(num_experts))};
  fill_activation(record.activation, reports);
  fill_capacity(record.capacity, reports);
  std::vector<policy::RoutingTrace> traces;
  for (const RankReport& report : reports) traces.push_back(report.trace);
  policy::RoutingTrace trace = policy::add_traces(std::move(traces));
  record.trace = {trace.step_tokens, trace.num_steps, trace.num_layers, trace.num_experts, std::move(trace.rows)};
  std::vector<LiveReport> live;
  for (const RankReport& report : reports) live.push_back(report.live);
  fill_rebalance(record, live, *setup.placement, setup.layout.expert_ranks);
  for (const RankReport& report : reports) {
    for (std::size_t i = 0; i < num_phases; ++i) {
      record.timing.push_back({static_cast<int>(report.rank), report.role, report.node, static_cast<Phase>(i), report.phases[i]});
    }
    if (report.role != to_string(Roles::expert)) {
      record.prefix_caches.push_back({.rank = static_cast<int>(report.rank), .root_tokens = report.work.root_tokens,
                                      .root_tokens_reused = report.work.root_tokens_reused, .kv_blocks_evicted = report.kv_blocks_evicted});
      const auto times = LatencyHistogram::from_buckets(report.inter_token_buckets);
      record.latencies.push_back({.rank = static_cast<int>(report.rank), .inter_token_count = times.count(), .inter_token_p50_s = times.quantile(0.5),
                                  .inter_token_p99_s = times.quantile(0.99), .inter_token_max_s = times.quantile(1.0)});
    }
    record.work.push_back({.rank = static_cast<int>(report.rank), .loop_s = report.loop_s, .tokens_fed = report.work.tokens_fed,
                           .tokens_out = report.work.tokens_out, .micro_batches = report.attention.micro_batches,
                           .expert_calls = report.experts.calls, .expert_rows = report.experts.rows_computed,
                           .intervals_left_out = report.intervals_left_out, .exposed_s = report.exposed_s});
    for (const Interval& interval : report.timeline) record.timeline.push_back({static_cast<int>(report.rank), interval});
    for (const Transfer& transfer : report.transfers) record.transfers.push_back({static_cast<int>(report.rank), transfer});
    for (const SeriesPoint& point : report.series) record.series.push_back({static_cast<int>(report.rank), point});
    for (std::size_t layer = 0; layer < report.load.size(); ++layer) {
      for (std::size_t expert = 0; expert < report.load[layer].size(); ++expert) {
        record.load.rows[layer * static_cast<std::size_t>(num_experts) + expert] += report.load[layer][expert];
      }
    }
    record.memory.push_back({static_cast<int>(report.rank), report.peak_rss_bytes});
  }
}

std::int64_t peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;  // Linux counts in KiB
}

}  // namespace moebius::ranks
