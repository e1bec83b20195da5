// SPDX-License-Identifier: Apache-2.0
// Asynchronous execution beside lock-step, one factor at a time around two base cells: decode and prefill.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <stdexcept>

#include "tests/bench/study.hpp"

namespace moebius::bench {
namespace {

using Kind = StudyRequests::Kind;

struct Cell {
  std::string section, name;
  StudyModel model;
  StudyRequests requests;
  int num_ranks = 2;
  Settings settings;
  double dilation = 0;
};

/// Requests of a rank are one and a half times, and three and a half times, what it has in flight: the last step is half full, so that
/// a rank that claims a few more or less than its share changes nothing.
constexpr int sequences_at_once = 32, sequences_per_rank = 48, texts_per_rank = 14, tokens_in_flight = 512;
/// Layers of the models in cells that vary one thing; base cells have all of them where it takes no minutes.
constexpr int few_layers = 12, few_layers_and_dense = 15;

StudyRequests requests_of(Kind kind, int num_ranks, bool unequal = false) {
  if (kind == Kind::decode) {
    return {.kind = kind, .count = sequences_per_rank * num_ranks, .prompt_tokens = 4, .new_tokens = 10, .unequal_lengths = unequal};
  }
  return {.kind = kind, .count = texts_per_rank * num_ranks, .prompt_tokens = 128, .unequal_lengths = unequal};
}

/// A generation reserves two blocks of the cache, of 16 tokens each (of unequal lengths too): no rank hoards more than its share.
Settings limits_of(Kind kind) {
  if (kind == Kind::decode) return {{"limits.kv_tokens", std::to_string(2 * 16 * sequences_at_once)}};
  return {{"limits.max_tokens_in_flight", std::to_string(tokens_in_flight)}};
}

/// So many that real computation stays below 30 % of two cores: it grows with ranks, and prefill has many more rows in the same
/// emulated time. At least so many that messages come in time to few ranks.
double dilation_of(const std::string& emulated, Kind kind, int num_ranks) {
  static const std::map<std::string, std::pair<double, double>> per_rank{  // decode, prefill
      {"mixtral-8x7b", {2.5, 5}}, {"qwen3-30b-a3b", {8, 18}}, {"deepseek-v3", {4, 12}}};
  const auto [decode, prefill] = per_rank.at(emulated);
  return kind == Kind::decode ? std::max(16.0, num_ranks * decode) : std::max(48.0, num_ranks * prefill);
}

const char* name_of(Kind kind) { return kind == Kind::decode ? "decode" : "prefill"; }

Cell slow_cell(const std::string& section, const std::string& label, const StudyModel& model, Kind kind, int num_ranks, const Settings& more = {},
               bool unequal = false) {
  const double dilation = dilation_of(model.emulated, kind, num_ranks);
  return {section, fmt::format("{} {}, {} ranks{}", model.emulated, name_of(kind), num_ranks, label.empty() ? "" : ", " + label), model,
          requests_of(kind, num_ranks, unequal), num_ranks, as_h100(model, dilation) + limits_of(kind) + more, dilation};
}

/// One expert rank that takes so many times as long.
Settings slowed(double factor, int num_ranks) {
  std::string list = fmt::format("[{}", factor);
  for (int rank = 1; rank < num_ranks; ++rank) list += ",1";
  return {{"placement.emulated_slowdown", list + "]"}};
}

std::vector<Cell> real_time_cells() {
  const StudyModel tiny{.name = "tiny", .arguments = {}, .path = "inputs/models/tiny"};
  const StudyModel middle{.name = "middle", .arguments = {"--hidden", "512", "--layers", "8", "--heads", "8", "--kv-heads", "2", "--head-dim", "64", "--experts",
                                                          "32", "--top-k", "4", "--width", "256", "--vocab", "4096", "--config", "eos_token_id=null"}};
  std::vector<Cell> cells;
  for (const StudyModel& model : {tiny, middle}) {
    for (const Kind kind : {Kind::decode, Kind::prefill}) {
      for (const std::string layout : {"colocated", "split"}) {
        StudyRequests requests = requests_of(kind, 2);
        requests.count *= model.name == "tiny" ? 24 : 6;  // seconds: shorter runs in real time differ by a half
        if (kind == Kind::decode) requests.new_tokens = 48;
        cells.push_back({"real time", fmt::format("{} model {}, 2 ranks {}", model.name, name_of(kind), layout), model, requests, 2,
                         Settings{{"layout.mode", layout}} + (kind == Kind::decode ? Settings{{"limits.kv_tokens", "2048"}} : Settings{}), 0});
      }
    }
  }
  return cells;
}

std::vector<Cell> base_cells() {
  std::vector<Cell> cells;
  for (const Kind kind : {Kind::decode, Kind::prefill}) {
    for (const int num_ranks : {2, 4, 8, 16}) {
      if (num_ranks <= 8) cells.push_back(slow_cell("models and ranks", "", mixtral_8x7b(), kind, num_ranks));  // it has 8 experts
      const bool all_layers = kind == Kind::decode || num_ranks == 2 || num_ranks == 8;
      if (all_layers) cells.push_back(slow_cell("models and ranks", "", qwen3_30b_a3b(), kind, num_ranks));
      cells.push_back(slow_cell("models and ranks", fmt::format("{} layers", few_layers_and_dense), deepseek_v3(few_layers_and_dense), kind, num_ranks));
    }
  }
  std::ranges::stable_sort(cells, {}, [](const Cell& cell) { return std::pair(cell.model.emulated, cell.requests.kind); });
  return cells;
}

std::vector<Cell> slow_motion_cells() {
  std::vector<Cell> cells = base_cells();
  const std::string layers = fmt::format("{} layers", few_layers);
  const auto few = [](int top_k = 0, std::optional<double> skew = {}) { return qwen3_30b_a3b(top_k, skew, few_layers); };
  for (const Kind kind : {Kind::decode, Kind::prefill}) {
    for (const int top_k : {1, 2, 4, 8}) cells.push_back(slow_cell("top-k", fmt::format("{}, top-{}", layers, top_k), few(top_k), kind, 8));
  }
  for (const Kind kind : {Kind::decode, Kind::prefill}) {
    cells.push_back(slow_cell("router skew", layers + ", as made", few(), kind, 8));
    for (const double skew : {0.0, 0.5, 1.0}) cells.push_back(slow_cell("router skew", fmt::format("{}, Zipf {}", layers, skew), few(0, skew), kind, 8));
  }
  for (const Kind kind : {Kind::decode, Kind::prefill}) {
    for (const bool unequal : {false, true}) {
      const std::string lengths = unequal ? "unequal lengths" : "equal lengths";
      cells.push_back(slow_cell("lengths", layers + ", " + lengths, few(), kind, 8, {}, unequal));
      cells.push_back(slow_cell("lengths", lengths, mixtral_8x7b(), kind, 8, {}, unequal));
    }
  }
  for (const Kind kind : {Kind::decode, Kind::prefill}) {
    for (const double factor : {1.0, 1.5, 2.0, 3.0}) {
      cells.push_back(slow_cell("one slow rank", fmt::format("{}, one rank {} times as slow", layers, factor), few(), kind, 8, slowed(factor, 8)));
    }
  }
  for (const double factor : {1.0, 1.5, 2.0, 3.0}) {
    cells.push_back(slow_cell("one slow rank", fmt::format("one rank {} times as slow", factor), mixtral_8x7b(), Kind::prefill, 8, slowed(factor, 8)));
  }
  // What an expert call costs beside its work decides for small experts, and how many sequences share its weights for all.
  for (const std::string us : {"1", "10"}) {
    const Settings overhead{{"emulation.expert_overhead_us", us}};
    cells.push_back(slow_cell("overhead of a call", fmt::format("{}, {} us an expert call", layers, us), few(), Kind::decode, 8, overhead));
    cells.push_back(slow_cell("overhead of a call", fmt::format("{}, {} us an expert call", layers, us), few(), Kind::prefill, 8, overhead));
    cells.push_back(slow_cell("overhead of a call", fmt::format("{} layers, {} us an expert call", few_layers_and_dense, us), deepseek_v3(few_layers_and_dense),
                              Kind::prefill, 8, overhead));
  }
  return cells;
}

std::vector<Cell> cells_of(bool quick) {
  std::vector<Cell> cells = real_time_cells();
  if (quick) return {cells[0], slow_cell("models and ranks", "", mixtral_8x7b(), Kind::prefill, 2)};
  for (Cell& cell : slow_motion_cells()) cells.push_back(std::move(cell));
  return cells;
}

std::vector<std::string> row_of(const Cell& cell, const StudyFigures& async, const StudyFigures& lockstep) {
  const auto both = [](const std::string& a, const std::string& b) { return a + " / " + b; };
  const auto latency = [&](double StudyFigures::*value) {
    return async.inter_token_p50_s > 0 ? both(fixed(1e3 * (async.*value), 2), fixed(1e3 * (lockstep.*value), 2)) : std::string("-");
  };
  const bool valid = async.valid > 0 && lockstep.valid > 0;
  const std::string share = both(percent(async.compute_share), percent(lockstep.compute_share)) + (valid ? "" : " INVALID");
  return {cell.name,
          fixed(async.tokens_per_s, 0),
          fixed(lockstep.tokens_per_s, 0),
          fixed(async.tokens_per_s / lockstep.tokens_per_s, 3),
          both(percent(async.idle_mean), percent(lockstep.idle_mean)),
          both(percent(async.idle_max), percent(lockstep.idle_max)),
          both(fixed(async.rows_per_call, 1), fixed(lockstep.rows_per_call, 1)),
          latency(&StudyFigures::inter_token_p50_s),
          latency(&StudyFigures::inter_token_p99_s),
          cell.dilation > 0 ? fixed(cell.dilation, 0) : "real time",
          cell.dilation > 0 ? share : "-"};
}

StudyTable new_table() {
  return StudyTable({"cell", "async, tokens/s", "lockstep, tokens/s", "ratio", "idle mean", "idle max", "rows per call", "between tokens p50, ms", "p99, ms", "D",
                     "compute share"});
}

/// Tokens a second of the largest number of ranks over those of the smallest.
std::string scaling_table(const std::vector<Cell>& cells, const std::vector<StudyFigures>& figures) {
  StudyTable table({"model, work", "ranks", "async", "lockstep", "ideal"});
  std::map<std::string, std::size_t> first;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    if (cells[i].section != "models and ranks") continue;
    const std::string name = fmt::format("{} {}", cells[i].model.name, name_of(cells[i].requests.kind));
    if (first.try_emplace(name, i).second) continue;
    const std::size_t base = first.at(name);
    const auto gain = [&](std::size_t variant) { return figures[2 * i + variant].tokens_per_s / figures[2 * base + variant].tokens_per_s; };
    table.add({name, fmt::format("{} to {}", cells[base].num_ranks, cells[i].num_ranks), fixed(gain(0), 2), fixed(gain(1), 2),
               fixed(static_cast<double>(cells[i].num_ranks) / cells[base].num_ranks, 0)});
  }
  return table.empty() ? "" : "\n### Scaling: emulated tokens/s, as many requests for each rank\n\n" + table.markdown();
}

std::vector<StudyRun> runs_of(const std::vector<Cell>& cells) {
  std::vector<StudyRun> runs;
  for (const Cell& cell : cells) {
    for (const std::string execution : {"async", "lockstep"}) {
      runs.push_back({cell.name, execution, cell.model, cell.requests, cell.num_ranks, cell.settings + Settings{{"schedule.execution", execution}}, cell.dilation});
    }
  }
  return runs;
}

}  // namespace

std::string async_study(const StudyOptions& options, bool quick) {
  std::vector<Cell> cells = cells_of(quick);
  std::erase_if(cells, [&](const Cell& cell) { return (cell.section + " " + cell.name).find(options.only) == std::string::npos; });
  if (cells.empty()) throw std::runtime_error("no cell holds the text " + options.only + " (of --only)");
  StudyStore store(options.file);
  const std::vector<StudyFigures> figures = run_all(options, store, runs_of(cells));
  std::string text = "## Asynchronous execution beside lock-step\n\n" + machine_line() +
                     ". Pairs are async / lockstep, run one after the other with the same placement and the same bits. Cells with a D are "
                     "emulated: H100s in slow motion, times and rates are those of the emulated device. Idle: share of the run in which a rank does not compute.\n";
  StudyTable lost = new_table();
  for (std::size_t begin = 0; begin < cells.size();) {
    StudyTable table = new_table();
    std::size_t i = begin;
    for (; i < cells.size() && cells[i].section == cells[begin].section; ++i) {
      const StudyFigures &async = figures[2 * i], &lockstep = figures[2 * i + 1];
      if (async.digest != lockstep.digest) throw std::runtime_error(cells[i].name + ": the bits of async and lockstep differ");
      table.add(row_of(cells[i], async, lockstep));
      if (async.tokens_per_s < lockstep.tokens_per_s) lost.add(row_of(cells[i], async, lockstep));
    }
    text += fmt::format("\n### {}{}\n\n{}", cells[begin].section, cells[begin].dilation > 0 ? " (emulated)" : "", table.markdown());
    begin = i;
  }
  text += scaling_table(cells, figures);
  text += "\n### Cells where lock-step wins\n\n" + (lost.empty() ? std::string("none\n") : lost.markdown());
  return text;
}

}  // namespace moebius::bench
