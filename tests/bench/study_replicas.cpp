// SPDX-License-Identifier: Apache-2.0
// Replicas and their routers: the step of a decode, and prefill where gathering rows loses.
#include <fmt/format.h>

#include <algorithm>

#include "tests/bench/study.hpp"

namespace moebius::bench {
namespace {

constexpr int num_ranks = 8, num_waves = 3;
constexpr double decode_dilation = 40, prefill_dilation = 180;

struct Variant {
  double ratio;
  std::string router;
  [[nodiscard]] std::string name() const { return ratio == 1.0 ? "no replicas" : fmt::format("{} at {}", router, ratio); }
};

struct Cell {
  std::string name;
  StudyModel model;
  StudyRequests::Kind kind;
  int sequences_per_rank;
  std::vector<Variant> variants;
  [[nodiscard]] double dilation() const { return kind == StudyRequests::Kind::decode ? decode_dilation : prefill_dilation; }
};

std::vector<Variant> variants_of(const std::vector<double>& ratios) {
  std::vector<Variant> variants{{1.0, "even"}};
  for (const double ratio : ratios) {
    for (const std::string router : {"even", "metro", "fewest_first", "exact"}) variants.push_back({ratio, router});
  }
  return variants;
}

StudyRequests requests_of(const Cell& cell, std::uint64_t seed) {
  const int count = num_waves * cell.sequences_per_rank * num_ranks;
  if (cell.kind == StudyRequests::Kind::prefill) return {.kind = cell.kind, .count = count, .prompt_tokens = 128, .seed = seed};
  return {.kind = cell.kind, .count = count, .prompt_tokens = 4, .new_tokens = 12, .seed = seed};
}

/// A generation reserves two blocks of 16 tokens: no rank hoards sequences, and every step has as many of them.
Settings limits_of(const Cell& cell) {
  if (cell.kind == StudyRequests::Kind::prefill) return {{"limits.max_tokens_in_flight", "512"}};
  return {{"limits.kv_tokens", std::to_string(2 * 16 * cell.sequences_per_rank)}};
}

std::vector<Cell> cells_of(bool quick) {
  using enum StudyRequests::Kind;
  if (quick) return {{"decode, 4 sequences a rank", qwen3_30b_a3b(), decode, 4, {{1.0, "even"}, {1.5, "metro"}}}};
  return {{"decode, 4 sequences a rank, router as made", qwen3_30b_a3b(), decode, 4, variants_of({1.125, 1.25, 1.5})},
          {"decode, 4 sequences a rank, Zipf 1", qwen3_30b_a3b(0, 1.0), decode, 4, variants_of({1.125, 1.25, 1.5})},
          {"decode, 12 layers, 32 sequences a rank, Zipf 1", qwen3_30b_a3b(0, 1.0, 12), decode, 32, variants_of({1.25})},
          {"prefill, 12 layers, Zipf 1", qwen3_30b_a3b(0, 1.0, 12), prefill, 6, variants_of({1.25})}};
}

StudyRun trace_run(const Cell& cell) {
  return {"trace of " + cell.name, "linear", cell.model, requests_of(cell, 21), 2, {{"layout.mode", "colocated"}, {"placement.record_trace", "true"}}, 0};
}

StudyRun run_of(const StudyOptions& options, const Cell& cell, const Variant& variant) {
  return {cell.name, variant.name(), cell.model, requests_of(cell, 22), num_ranks,
          as_h100(cell.model, cell.dilation()) + limits_of(cell) + Settings{{"schedule.execution", "lockstep"},
                                                          {"placement.planner", "eplb"},
                                                          {"placement.trace", results_of(options, trace_run(cell)).native()},
                                                          {"replicas.ratio", fmt::format("{}", variant.ratio)},
                                                          {"replicas.router", variant.router},
                                                          {"replicas.knee_rows", "1e9"}},
          cell.dilation()};
}

}  // namespace

std::string replicas_study(const StudyOptions& options, bool quick) {
  StudyStore store(options.file);
  std::string text = "## Replicas of experts and their routers (emulated)\n\n" + machine_line() +
                     ". 8 H100s in slow motion, Qwen3-30B-A3B, lock-step, placement by eplb from a trace of other requests. The regime switch is off "
                     "(knee_rows 1e9), so that each router is seen everywhere. Ratios are to no replicas in the same cell; above 1 is better.\n";
  StudyTable lost({"cell", "variant", "speed"});
  for (const Cell& cell : cells_of(quick)) {
    std::vector<StudyRun> runs;
    for (const Variant& variant : cell.variants) runs.push_back(run_of(options, cell, variant));
    if (std::ranges::any_of(runs, [&](const StudyRun& run) { return store.find(run) == nullptr; })) (void)run_once(options, trace_run(cell));
    const std::vector<StudyFigures> figures = run_all(options, store, runs);
    const bool decode = cell.kind == StudyRequests::Kind::decode;
    StudyTable table({"variant", decode ? "step p50, ms" : "tokens/s", "speed", "busiest rank", "activated max", "rows max", "compute share"});
    for (std::size_t v = 0; v < runs.size(); ++v) {
      const StudyFigures &own = figures[v], &control = figures[0];
      if (own.digest != control.digest) throw std::runtime_error(runs[v].key() + ": the bits depend on replicas");
      const double speed = decode ? control.inter_token_p50_s / own.inter_token_p50_s : own.tokens_per_s / control.tokens_per_s;
      table.add({runs[v].variant, decode ? fixed(1e3 * own.inter_token_p50_s, 3) : fixed(own.tokens_per_s, 0), fixed(speed, 3),
                 fixed(control.busy_s_max / own.busy_s_max, 3), fixed(own.activated_max, 2), fixed(own.rows_max, 1),
                 percent(own.compute_share) + (own.valid > 0 ? "" : " INVALID")});
      if (v > 0 && speed < 1) lost.add({cell.name, runs[v].variant, fixed(speed, 3)});
    }
    text += fmt::format("\n### {} (D {:.0f})\n\n{}", cell.name, cell.dilation(), table.markdown());
  }
  return text + "\n### Where replicas lose to none\n\n" + (lost.empty() ? std::string("nowhere\n") : lost.markdown());
}

}  // namespace moebius::bench
