// SPDX-License-Identifier: Apache-2.0
// Planners of expert placement where ranks differ in speed: planned on the routing trace of one data set, measured on another.
#include <fmt/format.h>

#include <algorithm>

#include "tests/bench/study.hpp"

namespace moebius::bench {
namespace {

constexpr double dilation_per_rank = 24, skew = 1.0;
/// Six and a half steps of 1024 tokens: a rank that claims a few texts more or less than its share changes nothing.
constexpr int num_layers = 12, texts_per_rank = 52;

const std::vector<std::string>& planners() {
  static const std::vector<std::string> names{"linear", "eplb", "speed_lpt", "trace_lpt", "gem"};
  return names;
}

StudyRequests texts(int num_ranks, std::uint64_t seed) {
  return {.kind = StudyRequests::Kind::prefill, .count = texts_per_rank * num_ranks, .prompt_tokens = 128, .seed = seed};
}

/// From 1 to 1 + spread in equal steps, the slow ranks neither first nor last alone.
std::string slowdowns(double spread, int num_ranks) {
  std::string list = "[";
  for (int rank = 0; rank < num_ranks; ++rank) {
    const int place = rank % 2 == 0 ? rank / 2 : num_ranks - 1 - rank / 2;
    list += fmt::format("{}{:.4f}", rank > 0 ? "," : "", 1.0 + spread * place / (num_ranks - 1));
  }
  return list + "]";
}

struct Cell {
  int num_ranks;
  double spread;
  std::string execution;
  [[nodiscard]] std::string name() const { return fmt::format("{} ranks, speeds {:.1f} % apart, {}", num_ranks, 100 * spread, execution); }
};

std::vector<Cell> cells_of(bool quick) {
  if (quick) return {{4, 0.277, "lockstep"}};
  std::vector<Cell> cells;
  for (const int num_ranks : {4, 8}) {
    for (const double spread : {0.0, 0.077, 0.15, 0.277}) cells.push_back({num_ranks, spread, "lockstep"});
  }
  for (const int num_ranks : {4, 8}) cells.push_back({num_ranks, 0.277, "async"});
  return cells;
}

/// In real time, on other data, with the linear placement.
StudyRun trace_run(const StudyModel& model) {
  return {"trace", "linear", model, texts(2, 11), 2, {{"layout.mode", "colocated"}, {"placement.record_trace", "true"}}, 0};
}

}  // namespace

std::string placement_study(const StudyOptions& options, bool quick) {
  const StudyModel model = qwen3_30b_a3b(0, skew, num_layers);
  const StudyRun trace = trace_run(model);
  const std::vector<Cell> cells = cells_of(quick);
  std::vector<StudyRun> runs;
  for (const Cell& cell : cells) {
    const double dilation = dilation_per_rank * cell.num_ranks;
    for (const std::string& planner : planners()) {
      runs.push_back({cell.name(), planner, model, texts(cell.num_ranks, 12), cell.num_ranks,
                      as_h100(model, dilation) + Settings{{"schedule.execution", cell.execution},
                                                          {"placement.planner", planner},
                                                          {"placement.trace", results_of(options, trace).native()},
                                                          {"placement.emulated_slowdown", slowdowns(cell.spread, cell.num_ranks)}},
                      dilation});
    }
  }
  StudyStore store(options.file);
  if (std::ranges::any_of(runs, [&](const StudyRun& run) { return store.find(run) == nullptr; })) (void)run_once(options, trace);
  const std::vector<StudyFigures> figures = run_all(options, store, runs);

  StudyTable speed({"cell", "linear", "eplb", "speed_lpt", "trace_lpt", "gem", "gem / best other", "D", "largest compute share"});
  StudyTable stages({"cell", "linear", "eplb", "speed_lpt", "trace_lpt", "gem"});
  for (std::size_t c = 0; c < cells.size(); ++c) {
    const StudyFigures* of = &figures[c * planners().size()];
    std::vector<std::string> row{cells[c].name()}, stage_row{cells[c].name()};
    double best_other = 0, share = 0;
    bool valid = true;
    for (std::size_t p = 0; p < planners().size(); ++p) {
      if (of[p].digest != of[0].digest) throw std::runtime_error(cells[c].name() + ": the bits depend on the placement");
      row.push_back(fixed(of[p].tokens_per_s / of[0].tokens_per_s, 3));
      stage_row.push_back(fixed(of[p].busy_s_max / of[p].busy_s_mean, 3));
      if (planners()[p] != "gem") best_other = std::max(best_other, of[p].tokens_per_s);
      share = std::max(share, of[p].compute_share);
      valid = valid && of[p].valid > 0;
    }
    row.push_back(fixed(of[planners().size() - 1].tokens_per_s / best_other, 3));
    row.push_back(fixed(dilation_per_rank * cells[c].num_ranks, 0));
    row.push_back(percent(share) + (valid ? "" : " INVALID"));
    speed.add(row);
    stages.add(stage_row);
  }
  return "## Planners of expert placement where ranks differ in speed (emulated)\n\n" + machine_line() +
         fmt::format(". H100s in slow motion with the sizes of Qwen3-30B-A3B and {} layers, router skew Zipf {}, texts of 128 tokens; planned on a trace of "
                     "other texts. gem is GEM-style, reconstructed. Expert ranks are slowed by factors in equal steps from 1 to 1 + spread; at 0 % gem and "
                     "speed_lpt have no speeds to use: the negative control.\n\n### Tokens/s over those of linear in the same cell\n\n",
                     num_layers, skew) +
         speed.markdown() + "\n### Time that ranks compute: busiest rank over the mean\n\n" + stages.markdown();
}

}  // namespace moebius::bench
