// SPDX-License-Identifier: Apache-2.0
#include "ranks/emulation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

namespace moebius::ranks {
namespace {

/// A stage that is shorter cannot be told from the time that waking up takes.
constexpr double least_stage_s = 0.3e-3;

}  // namespace

std::string describe_emulation(const Job& job, const ModelConfig& config) {
  const auto emulation = policy::make_emulation(job, config);
  if (!emulation) return "none";
  const policy::Device& device = emulation->times.device();
  return fmt::format("{} ({:.4g} TFLOP/s, {:.4g} GB/s, efficiency {:.3g}, of attention {:.3g}, {:.3g} us for an expert call, {:.3g} us for an attention stage, tiles of {} rows) "
                     "with the sizes of {}{}; link {} ({:.3g} us, {:.4g} GB/s); dilation {:.6g}",
                     device.name, device.flops * 1e-12, device.bytes_per_s * 1e-9, device.efficiency, device.attention_efficiency, device.expert_overhead_s * 1e6,
                     device.attention_overhead_s * 1e6, device.row_tile, emulation->times.model().name,
                     job.emulation.tokens_per_row > 1 ? fmt::format(", {:.4g} tokens in a row", job.emulation.tokens_per_row) : "", emulation->link.name,
                     emulation->link.latency_s * 1e6, emulation->link.bytes_per_s * 1e-9, emulation->dilation);
}

double processor_s() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

EmulationSummary summarise_emulation(const Job& job, const std::vector<EmulatedRank>& ranks, int num_cores, std::int64_t tokens) {
  EmulationSummary summary{.on = job.emulation.on()};
  if (!summary.on) return summary;
  summary.dilation = job.emulation.dilation;
  double wall_s = 0, elapsed_s = 0, all_processor_s = 0, most_processor_s = 0;
  std::int64_t messages = 0, missed = 0;
  for (const EmulatedRank& rank : ranks) {
    wall_s = std::max(wall_s, rank.loop_s);
    elapsed_s = std::max(elapsed_s, rank.elapsed_s);
    all_processor_s += rank.processor_s;
    most_processor_s = std::max(most_processor_s, rank.processor_s);
    messages += rank.pace.messages;
    missed += rank.pace.missed_messages;
    if (rank.pace.stages > 0 && (summary.shortest_s == 0 || rank.pace.shortest_s < summary.shortest_s)) summary.shortest_s = rank.pace.shortest_s;
  }
  if (messages > 0) summary.missed_share = static_cast<double>(missed) / static_cast<double>(messages);
  if (wall_s <= 0) return summary;
  summary.seconds = wall_s / summary.dilation;
  summary.tokens_per_s = static_cast<double>(tokens) * job.emulation.tokens_per_row / summary.seconds;
  summary.compute_share = std::max(most_processor_s, all_processor_s / num_cores) / wall_s;
  summary.slip = std::max(0.0, 1 - elapsed_s / wall_s);
  return summary;
}

io::EmulationTable emulation_table(const EmulationSummary& summary, const std::vector<EmulatedRank>& ranks) {
  if (!summary.on) return {};
  io::EmulationTable table{.dilation = summary.dilation, .seconds = summary.seconds, .tokens_per_s = summary.tokens_per_s,
                           .compute_share = summary.compute_share, .slip = summary.slip,
                           .missed_share = summary.missed_share};
  for (const EmulatedRank& rank : ranks) {
    table.processor_s.push_back(rank.processor_s);
    table.loop_s.push_back(rank.loop_s);
    table.modelled_s.push_back(rank.pace.modelled_s);
    table.late_s.push_back(rank.pace.late_s);
    table.latest_s.push_back(rank.pace.latest_s);
    table.shortest_s.push_back(rank.pace.shortest_s);
    table.stages.push_back(rank.pace.stages);
    table.late_stages.push_back(rank.pace.late_stages);
  }
  return table;
}

std::string validity(const EmulationSummary& summary) {
  if (!summary.on) return "real time";
  if (summary.valid()) return "yes";
  return fmt::format("no (real computation took {:.0f} % of the time of a core, 30 % are allowed; {:.1f} % of the time belong to no stage or message, 5 % are "
                     "allowed; {:.1f} % of the messages came too late to be chosen in time, 5 % are allowed) raise emulation.dilation",
                     100 * summary.compute_share, 100 * summary.slip, 100 * summary.missed_share);
}

std::string describe(const EmulationSummary& summary, const std::string& emulation) {
  if (!summary.on) return {};
  std::string text = fmt::format("emulated: {}\nemulated: {:.6g} s of the device, {:.0f} tokens/s; real computation took {:.1f} % of the time of a core, "
                                 "{:.1f} % of the time belong to no stage or message, {:.1f} % of the messages came late\nemulated: valid: {}\n",
                                 emulation, summary.seconds, summary.tokens_per_s, 100 * summary.compute_share, 100 * summary.slip, 100 * summary.missed_share,
                                 validity(summary));
  if (summary.shortest_s < least_stage_s) {
    text += fmt::format("emulated: the shortest stage lasts {:.3g} ms here, with dilation {:.4g} it would last 0.3 ms\n", 1e3 * summary.shortest_s,
                        summary.dilation * least_stage_s / std::max(summary.shortest_s, 1e-12));
  }
  return text;
}

}  // namespace moebius::ranks
