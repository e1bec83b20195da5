// SPDX-License-Identifier: Apache-2.0
// Fine-grained pipelines (FinDEP, ping-pong) beside asynchronous execution, colocated lock-step and, where it fits, whole models on
// each rank: what the plan of each cell says, and what slow motion measures.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tests/bench/study.hpp"

namespace moebius::bench {
namespace {

/// Long texts in few rows: a row stands for so many tokens that a sequence has this many rows.
constexpr int rows_per_sequence = 128;
constexpr int num_layers = 6;
/// Lock-step lasts about so long here for each rank: copying and looking for messages took up to 0.24 s of either core for each rank (41 % of 0.58 s
/// with 8 ranks, 66 % of 0.29 s with 32), and a run counts where that is below 30 % of its time. 32 ranks on a network wait most, and look for
/// messages all the while (38 and 49 % with the same length).
constexpr double seconds_of_a_rank = 0.95, more_for_many_on_a_network = 2;

struct Cell {
  StudyModel model;
  int seq_tokens = 1024;
  std::string link;
  int num_ranks = 8;
  bool replicate = false;  ///< the whole model fits into a rank
  bool real_time = false;
  int waves = 2;           ///< what is in flight at once is so often in the job
  std::filesystem::path profile = {};  ///< real time: measured costs of this machine
  std::filesystem::path trace = {};    ///< how its router loads experts
  [[nodiscard]] std::string name() const {
    if (real_time) return fmt::format("{} model, {} tokens, {} ranks", model.name, seq_tokens, num_ranks);
    return fmt::format("{}, {} tokens, {}, {} ranks", model.emulated, seq_tokens, link, num_ranks);
  }
  /// Of all ranks at once.
  [[nodiscard]] int sequences_in_flight() const { return num_ranks * (num_ranks > 8 ? 2 : 4); }
};

/// How the plan would run a cell.
struct Way {
  std::string name;
  int attention_ranks = 0, r1 = 1, r2 = 1;
  std::string order = "asas";
  double seconds = 0;
};

struct CellPlan {
  std::vector<Way> ways;
  std::string best;
  [[nodiscard]] const Way& way(const std::string& name) const {
    const auto found = std::ranges::find(ways, name, &Way::name);
    if (found == ways.end()) throw std::runtime_error("the plan knows no way " + name);
    return *found;
  }
};

StudyRequests requests_of(const Cell& cell) {
  // One token is drawn behind each text, so that the LM head, which six layers are few beside, is computed once for a text.
  return {.kind = StudyRequests::Kind::decode,
          .count = cell.waves * cell.sequences_in_flight(),
          .prompt_tokens = cell.real_time ? cell.seq_tokens : rows_per_sequence,
          .new_tokens = 1};
}

/// What all ways of a cell share. attention_ranks 0: all.
Settings base_settings(const Cell& cell, int attention_ranks) {
  const int holders = attention_ranks > 0 ? attention_ranks : cell.num_ranks, rows = requests_of(cell).prompt_tokens;
  const int sequences = (cell.sequences_in_flight() + holders - 1) / holders;
  Settings settings{{"limits.max_tokens_in_flight", std::to_string(sequences * rows)},
                    {"limits.segment_tokens", std::to_string(rows)},
                    {"limits.expert_rows", "65536"},
                    {"limits.kv_tokens", std::to_string(sequences * (rows + 32))}};
  if (!cell.trace.empty()) settings.emplace_back("placement.trace", cell.trace.native());
  if (!cell.profile.empty()) settings.emplace_back("plan.profile", cell.profile.native());
  if (cell.real_time) return settings;
  return settings + Settings{{"emulation.device", "h100"},
                             {"emulation.model", cell.model.emulated},
                             {"emulation.shape", "checkpoint"},
                             {"emulation.link", cell.link},
                             {"emulation.tokens_per_row", fmt::format("{}", static_cast<double>(cell.seq_tokens) / rows)}};
}

Settings split(const Cell& cell, int attention_ranks) {
  return base_settings(cell, attention_ranks) + Settings{{"layout.mode", "split"}, {"layout.attention_ranks", std::to_string(attention_ranks)}};
}

StudyRun run_of(const Cell& cell, const std::string& variant, const Settings& settings, double dilation) {
  StudyRun run{cell.name(), variant, cell.model, requests_of(cell), cell.num_ranks, settings, dilation};
  if (dilation > 0) run.settings.emplace_back("emulation.dilation", fmt::format("{}", dilation));
  return run;
}

void add_ways(const nlohmann::json& plan, CellPlan& cell_plan, double& fastest_split_s) {
  for (const auto& one : plan.at("ways")) {
    Way way{.name = one.at("way"), .attention_ranks = one.at("attention_ranks"), .seconds = one.at("job_s")};
    const auto& phase = one.at("phases").front();
    if (phase.contains("r1")) {
      way.r1 = phase.at("r1");
      way.r2 = phase.at("r2");
      way.order = phase.at("order");
    }
    const auto known = std::ranges::find(cell_plan.ways, way.name, &Way::name);
    if (known == cell_plan.ways.end()) cell_plan.ways.push_back(way);
    else if (way.seconds < known->seconds) *known = way;
    if (way.name == "FinDEP") fastest_split_s = std::min(fastest_split_s, way.seconds);
  }
}

/// Of a quarter, a half and three quarters of the ranks with attention the best for each way.
CellPlan plan_of_cell(const StudyOptions& options, const Cell& cell) {
  CellPlan plan;
  double fastest_split_s = std::numeric_limits<double>::infinity();
  for (const int quarters : {1, 2, 3}) {
    const int attention_ranks = cell.num_ranks * quarters / 4;
    if (attention_ranks < 1 || attention_ranks == cell.num_ranks) continue;
    add_ways(plan_of(options, run_of(cell, "plan", split(cell, attention_ranks), 0)), plan, fastest_split_s);
  }
  // Ways without a split have other limits.
  CellPlan whole;
  add_ways(plan_of(options, run_of(cell, "plan", base_settings(cell, 0), 0)), whole, fastest_split_s);
  for (const std::string name : {"lockstep", "async", "replicate"}) {
    const auto known = std::ranges::find(plan.ways, name, &Way::name);
    if (known != plan.ways.end()) *known = whole.way(name);
    else plan.ways.push_back(whole.way(name));
  }
  double best_s = std::numeric_limits<double>::infinity();
  for (const std::string name : {"FinDEP", "ping-pong", "lockstep", "replicate"}) {
    if (name == "replicate" && !cell.replicate) continue;
    if (plan.way(name).seconds >= best_s) continue;
    best_s = plan.way(name).seconds;
    plan.best = name;
  }
  return plan;
}

std::vector<StudyRun> runs_of(const Cell& cell, const CellPlan& plan) {
  // Two digits, so that runs of one cell share it.
  const double of_cell = seconds_of_a_rank * (cell.num_ranks > 8 && cell.link == "network" ? more_for_many_on_a_network : 1.0);
  const double wanted = of_cell * cell.num_ranks / plan.way("lockstep").seconds;
  const double unit = std::pow(10, std::floor(std::log10(wanted)) - 1);
  const double dilation = cell.real_time ? 0 : std::max(1.0, std::round(wanted / unit) * unit);
  const Way &findep = plan.way("FinDEP"), &pingpong = plan.way("ping-pong");
  const auto pipeline = [&](const Way& way, const std::string& order, int r2) {
    return split(cell, way.attention_ranks) + Settings{{"schedule.execution", "pipeline"},
                                                       {"pipeline.r1", std::to_string(way.r1)},
                                                       {"pipeline.r2", std::to_string(r2)},
                                                       {"pipeline.order", order}};
  };
  std::vector<StudyRun> runs{
      run_of(cell, "FinDEP", pipeline(findep, findep.order, findep.r2), dilation),
      run_of(cell, "ping-pong", pipeline(pingpong, "fused", 1), dilation),
      run_of(cell, "async split", split(cell, findep.attention_ranks), dilation),
      run_of(cell, "lockstep", base_settings(cell, 0) + Settings{{"layout.mode", "colocated"}, {"schedule.execution", "lockstep"}}, dilation)};
  if (cell.replicate) runs.push_back(run_of(cell, "replicate", base_settings(cell, 0) + Settings{{"layout.mode", "replicate"}}, dilation));
  return runs;
}

/// A model of which two ranks compute a whole study cell in seconds, in real time.
StudyModel wide_model(const std::string& name, const std::string& family, const std::vector<std::string>& more) {
  StudyModel model{.name = name, .arguments = {"--family", family, "--hidden", "512", "--layers", std::to_string(num_layers), "--heads", "8", "--kv-heads", "2",
                                               "--experts", "32", "--top-k", "4", "--width", "256", "--vocab", "512", "--config", "eos_token_id=null"}};
  model.arguments.insert(model.arguments.end(), more.begin(), more.end());
  return model;
}

std::vector<Cell> cells_of(bool quick) {
  const StudyModel shared = deepseek_v2(num_layers), none = qwen3_235b_a22b(num_layers);
  std::vector<Cell> cells;
  if (quick) {
    const StudyModel tiny{.name = "tiny", .arguments = {}, .path = "inputs/models/tiny"};
    cells.push_back({.model = tiny, .seq_tokens = 128, .link = {}, .num_ranks = 2, .real_time = true});
    cells.push_back({.model = shared, .seq_tokens = 2048, .link = "pcie", .num_ranks = 4});
    return cells;
  }
  // As many texts as two ranks compute in two seconds or more.
  for (const StudyModel& model : {wide_model("wide_shared", "qwen2_moe", {"--config", "shared_expert_intermediate_size=512"}), wide_model("wide", "qwen3_moe", {})}) {
    cells.push_back({.model = model, .seq_tokens = 512, .link = {}, .num_ranks = 2, .replicate = true, .real_time = true, .waves = 24});
  }
  for (const StudyModel& model : {shared, none}) {
    for (const std::string link : {"nvlink", "pcie", "network"}) {
      for (const int tokens : {1024, 2048, 4096, 8192}) cells.push_back({.model = model, .seq_tokens = tokens, .link = link, .num_ranks = 8});
    }
  }
  // 32 ranks take long where there are few cores: one length.
  for (const StudyModel& model : {shared, none}) {
    for (const std::string link : {"nvlink", "network"}) cells.push_back({.model = model, .seq_tokens = 4096, .link = link, .num_ranks = 32});
  }
  // A model of 61 GB, which a device of 80 GB holds.
  for (const std::string link : {"nvlink", "network"}) {
    cells.push_back({.model = qwen3_30b_a3b(0, {}, num_layers), .seq_tokens = 2048, .link = link, .num_ranks = 8, .replicate = true});
  }
  return cells;
}

std::string joined(const std::vector<StudyFigures>& figures, double StudyFigures::*value) {
  std::string text;
  for (const StudyFigures& one : figures) text += (text.empty() ? "" : " / ") + (std::isnan(one.*value) ? std::string("-") : fixed(100 * (one.*value), 0));
  return text;
}

double error_of(const StudyFigures& figures) { return figures.predicted_s / figures.loop_s - 1; }

struct Errors {
  std::vector<double> pipelines, lockstep;
  static std::string text(std::vector<double> errors) {
    if (errors.empty()) return "not predicted";
    for (double& error : errors) error = std::abs(error);
    std::ranges::sort(errors);
    return fmt::format("median {}, largest {}, {} runs", percent(errors[errors.size() / 2]), percent(errors.back()), errors.size());
  }
};

StudyTable new_table() {
  return StudyTable({"cell", "FinDEP: A:E, r1, r2, order", "tokens/s: FinDEP", "ping-pong", "async split", "lock-step", "replicate", "idle %", "not hidden %",
                     "predicted, error %", "fastest", "plan says", "compute share"});
}

struct CellResult {
  Cell cell;
  CellPlan plan;
  std::vector<StudyRun> runs;
  std::vector<StudyFigures> figures;
  [[nodiscard]] std::string fastest() const {
    const auto best = std::ranges::max_element(figures, {}, &StudyFigures::tokens_per_s);
    return runs[static_cast<std::size_t>(best - figures.begin())].variant;
  }
};

std::vector<std::string> row_of(const CellResult& result) {
  const auto& [cell, plan, runs, figures] = result;
  const Way& findep = plan.way("FinDEP");
  std::vector<std::string> row{cell.name(), fmt::format("{}:{}, {}, {}, {}", findep.attention_ranks, cell.num_ranks - findep.attention_ranks, findep.r1, findep.r2,
                                                        findep.order)};
  for (std::size_t i = 0; i < 5; ++i) row.push_back(i < figures.size() ? fixed(figures[i].tokens_per_s, 0) : "-");
  row.push_back(joined(figures, &StudyFigures::idle_mean));
  row.push_back(joined(figures, &StudyFigures::exposed_mean));
  std::string errors;
  double most_compute = 0;
  bool valid = true;
  for (const StudyFigures& one : figures) {
    errors += (errors.empty() ? "" : " / ") + (one.predicted_s > 0 ? fmt::format("{:+.0f}", 100 * error_of(one)) : std::string("-"));
    most_compute = std::max(most_compute, one.compute_share);
    valid = valid && one.valid > 0;
  }
  row.insert(row.end(), {errors, result.fastest(), plan.best, percent(most_compute) + (valid ? "" : " INVALID")});
  return row;
}

CellResult measure(const StudyOptions& options, StudyStore& store, Cell cell) {
  cell.trace = trace_of(options, run_of(cell, "routing", {}, 0));
  if (cell.real_time) cell.profile = profile_of(options, run_of(cell, "profile", base_settings(cell, 0), 0));
  CellResult result{cell, plan_of_cell(options, cell), {}, {}};
  result.runs = runs_of(cell, result.plan);
  result.figures = run_all(options, store, result.runs);
  for (std::size_t i = 1; i < result.figures.size(); ++i) {
    if (result.figures[i].digest != result.figures[0].digest) throw std::runtime_error(result.runs[i].key() + ": the bits are not those of FinDEP");
  }
  return result;
}

void add_errors(const CellResult& result, Errors& errors) {
  for (std::size_t i = 0; i < result.runs.size(); ++i) {
    if (result.figures[i].predicted_s <= 0 || result.figures[i].prediction_is_bound > 0) continue;
    const std::string& variant = result.runs[i].variant;
    (variant == "FinDEP" || variant == "ping-pong" ? errors.pipelines : errors.lockstep).push_back(error_of(result.figures[i]));
  }
}

const char* const head =
    ". Six layers of each published model as H100s in slow motion (emulated): what is measured is a real run whose stages last as long as the models of "
    "device and links say; its bits are the same in all ways of a cell. A text has 128 rows, each of which stands for 8 to 64 tokens with the same "
    "experts; four texts for each rank (two with 32 ranks) are in flight and twice as many in the job; one token is drawn behind each. Prefill, no dense layers. "
    "A:E, r1, r2 and order as the plan chooses them, of a quarter, a half or three quarters of the ranks with attention. Lists are FinDEP / ping-pong / "
    "async split / lock-step (/ replicate). Idle: share of the run in which a rank does not compute. Not hidden: without work while a message to "
    "the rank was on its way. Routers are random, and load experts unevenly: plans know how, from a run that recorded it. Neither DeepSeek-V2 (472 GB) "
    "nor Qwen3-235B (470 GB) fits into a rank of 80 GB, Qwen3-30B-A3B does.\n";

}  // namespace

std::string pipeline_study(const StudyOptions& options, bool quick) {
  std::vector<Cell> cells = cells_of(quick);
  std::erase_if(cells, [&](const Cell& cell) { return cell.name().find(options.only) == std::string::npos; });
  if (cells.empty()) throw std::runtime_error("no cell holds the text " + options.only + " (of --only)");
  StudyStore store(options.file);
  // Where ranks wait long between long stages, looking for messages is what takes the cores: another try is no better.
  StudyOptions once = options;
  once.tries = 1;
  StudyTable slow = new_table(), real = new_table(), lost({"cell", "fastest", "FinDEP beside it", "plan says"});
  Errors slow_errors, real_errors;
  for (const Cell& cell : cells) {
    const CellResult result = measure(once, store, cell);
    (cell.real_time ? real : slow).add(row_of(result));
    add_errors(result, cell.real_time ? real_errors : slow_errors);
    const std::string fastest = result.fastest();
    if (fastest != "lockstep" && fastest != "replicate") continue;
    const auto best = std::ranges::max_element(result.figures, {}, &StudyFigures::tokens_per_s);
    lost.add({cell.name(), fastest, fixed(result.figures[0].tokens_per_s / best->tokens_per_s, 3), result.plan.best});
  }
  std::string text = "## Pipelines beside other ways to run\n\n" + machine_line() + head;
  if (!slow.empty()) {
    text += "\n### Slow motion (emulated)\n\n" + slow.markdown() + fmt::format("\nPredicted against measured time: pipelines {}; lock-step and replicate {}.\n",
                                                                             Errors::text(slow_errors.pipelines), Errors::text(slow_errors.lockstep));
  }
  if (!real.empty()) {
    text += "\n### Real time, two ranks on this machine\n\n" + real.markdown() +
            fmt::format("\nPredicted, with costs that moebius profile had measured before, against measured time: pipelines {}; lock-step and replicate {}.\n",
                        Errors::text(real_errors.pipelines), Errors::text(real_errors.lockstep));
  }
  return text + "\n### Cells where keeping experts apart from attention loses\n\n" + (lost.empty() ? std::string("none\n") : lost.markdown());
}

}  // namespace moebius::bench
