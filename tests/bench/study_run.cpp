// SPDX-License-Identifier: Apache-2.0
// One run of a study: its model and requests, the job, its results.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <stdexcept>

#include "base/clock.hpp"
#include "base/hash.hpp"
#include "io/results_reader.hpp"
#include "tests/bench/launch.hpp"
#include "tests/bench/study.hpp"

namespace moebius::bench {
namespace {

/// A word for the shell.
std::string quoted(const std::string& text) {
  std::string word;
  for (const char c : text) c == '\'' ? word.append("'\\''") : word.append(1, c);
  return fmt::format("'{}'", word);
}

std::filesystem::path model_folder(const StudyOptions& options, const StudyModel& model) {
  if (model.arguments.empty()) return model.path;
  const std::filesystem::path folder = options.work / "models" / model.name;
  if (std::filesystem::exists(folder / "made")) return folder;
  std::filesystem::create_directories(folder);
  std::string command = fmt::format("{} make-model {} --force-new", quoted(options.program), quoted(folder.native()));
  for (const std::string& argument : model.arguments) command += fmt::format(" {}", quoted(argument));
  run_ranks(1, fmt::format("{} 2>/dev/null", command));
  // No token ends a text, so that lengths are those that were asked for.
  std::ofstream(folder / "generation_config.json") << "{}\n";
  std::ofstream(folder / "made");
  return folder;
}

int length_of(int wanted, bool unequal, std::mt19937_64& random) {
  if (!unequal) return wanted;
  return std::uniform_int_distribution<int>(std::max(1, wanted / 4), wanted * 7 / 4)(random);
}

std::filesystem::path request_file(const StudyOptions& options, const StudyRequests& requests) {
  const std::filesystem::path path = options.work / "requests" / (requests.name() + ".jsonl");
  std::filesystem::create_directories(path.parent_path());
  std::ofstream file(path);
  std::mt19937_64 random(requests.seed);
  std::uniform_int_distribution<int> token(1, requests.vocab_size - 1);
  const bool decode = requests.kind == StudyRequests::Kind::decode;
  for (int i = 0; i < requests.count; ++i) {
    nlohmann::json line{{"custom_id", std::to_string(i)}, {"kind", decode ? "generate_until" : "loglikelihood_rolling"}};
    std::vector<int> tokens(static_cast<std::size_t>(length_of(requests.prompt_tokens, requests.unequal_lengths, random)));
    for (int& t : tokens) t = token(random);
    line[decode ? "context" : "text"] = tokens;
    if (decode) {
      line["until"] = nlohmann::json::array();
      line["temperature"] = 1.0;
      line["max_gen_toks"] = length_of(requests.new_tokens, requests.unequal_lengths, random);
    }
    file << line.dump() << '\n';
  }
  file.close();
  if (!file) throw std::runtime_error("cannot write " + path.native());
  return path;
}

/// The program, its command, the job of the run with its settings.
std::string command_of(const StudyOptions& options, const StudyRun& run, const std::string& name) {
  const std::filesystem::path job = options.work / "job.toml";
  std::ofstream(job) << "[model]\npath = " << nlohmann::json(model_folder(options, run.model).native()) << "\ncompute = \"bf16\"\n[input]\npath = "
                     << nlohmann::json(request_file(options, run.requests).native()) << "\n[output]\npath = "
                     << nlohmann::json(results_of(options, run).native()) << "\n[run]\nprogress = \"off\"\n";
  std::string command = fmt::format("{} {} {}", quoted(options.program), name, quoted(job.native()));
  for (const auto& [key, value] : run.settings) command += fmt::format(" --set {}", quoted(fmt::format("{}={}", key, value)));
  return command;
}

/// The line of JSON that a command prints on so many ranks.
nlohmann::json json_of(const StudyOptions& options, int num_ranks, const std::string& command) {
  const std::filesystem::path errors = options.work / "stderr";
  for (const std::string& line : run_ranks(num_ranks, fmt::format("{} 2>{}", command, quoted(errors.native())))) {
    if (line.starts_with('{')) return nlohmann::json::parse(line);
  }
  throw std::runtime_error("a command printed no summary, see " + errors.native());
}

/// That a row stands for.
double tokens_per_row(const StudyRun& run) {
  const auto found = std::ranges::find(run.settings, "emulation.tokens_per_row", &std::pair<std::string, std::string>::first);
  return found == run.settings.end() ? 1.0 : std::stod(found->second);
}

bool computes(Phase phase) {
  switch (phase) {
    case Phase::attention:
    case Phase::router:
    case Phase::expert:
    case Phase::shared_experts:
    case Phase::combine:
    case Phase::lm_head: return true;
    default: return false;
  }
}

/// Seconds that each rank computed. In slow motion those that the models say: a rank that is late cuts its phases short on the clock.
std::vector<double> busy_seconds(const io::ResultsReader& results, double dilation) {
  std::vector<double> seconds;
  if (dilation > 0) {
    for (const double modelled_s : results.emulation().modelled_s) seconds.push_back(modelled_s / dilation);
    return seconds;
  }
  std::map<int, double> by_rank;
  for (const io::RankTiming& timing : results.timing()) by_rank[timing.rank] += computes(timing.phase) ? timing.total.seconds : 0.0;
  for (const auto& [rank, busy_s] : by_rank) seconds.push_back(busy_s);
  return seconds;
}

/// Idle shares, and rows of an expert call. Phases do not overlap: while a rank computes in none, it waits or moves messages.
void add_work(const io::ResultsReader& results, double dilation, StudyFigures& figures) {
  const std::vector<double> busy_s = busy_seconds(results, dilation);
  for (const double seconds : busy_s) {
    const double idle = std::max(0.0, 1.0 - seconds / figures.loop_s);
    figures.idle_mean += idle / static_cast<double>(busy_s.size());
    figures.idle_max = std::max(figures.idle_max, idle);
    figures.busy_s_mean += seconds / static_cast<double>(busy_s.size());
    figures.busy_s_max = std::max(figures.busy_s_max, seconds);
  }
  std::int64_t rows = 0;
  for (const io::RankTiming& timing : results.timing()) rows += timing.phase == Phase::expert ? timing.total.rows : 0;
  figures.exposed_mean = 0;
  const std::vector<io::RankWork> work = results.work();
  const double scale = dilation > 0 ? dilation : 1.0;
  for (const io::RankWork& rank : work) figures.exposed_mean += rank.exposed_s / scale / figures.loop_s / static_cast<double>(work.size());
  figures.rows_per_call = figures.expert_calls > 0 ? static_cast<double>(rows) / figures.expert_calls : 0.0;
}

}  // namespace

std::string StudyRequests::name() const {
  return fmt::format("{}_{}x{}+{}{}_seed{}_vocab{}", kind == Kind::decode ? "decode" : "prefill", count, prompt_tokens, new_tokens,
                     unequal_lengths ? "_unequal" : "", seed, vocab_size);
}

std::string StudyRun::description() const {
  std::string text = fmt::format("{}; {}; {} ranks", model.name, requests.name(), num_ranks);
  for (const auto& [name, value] : settings) text += fmt::format("; {}={}", name, value);
  return text;
}

std::filesystem::path results_of(const StudyOptions& options, const StudyRun& run) {
  return options.work / "results" / fmt::format("{:016x}", xxh3_64(run.key()));
}

StudyFigures run_once(const StudyOptions& options, const StudyRun& run) {
  const nlohmann::json summary = json_of(options, run.num_ranks, command_of(options, run, "run") + " --force-new");
  const io::ResultsReader results(results_of(options, run));
  const double scale = run.dilation > 0 ? 1.0 / run.dilation : 1.0;
  StudyFigures figures;
  figures.loop_s = summary.at("loop_s").get<double>();
  if (run.dilation > 0) {
    if (summary.at("emulated_dilation").get<double>() != run.dilation) throw std::runtime_error(run.key() + " ran with another dilation");
    figures.loop_s = summary.at("emulated_s").get<double>();
    figures.compute_share = summary.at("compute_share").get<double>();
    figures.valid = summary.at("emulation_valid").get<bool>() ? 1.0 : 0.0;
  }
  figures.tokens_per_s = tokens_per_row(run) * summary.at("tokens_fed").get<double>() / figures.loop_s;
  figures.activated_max = summary.at("activated_max").get<double>();
  figures.rows_max = summary.at("rows_max").get<double>();
  figures.inter_token_p50_s = summary.at("inter_token_p50_s").get<double>() * scale;
  figures.inter_token_p99_s = summary.at("inter_token_p99_s").get<double>() * scale;
  const double kept = summary.at("pairs_kept").get<double>(), dropped = summary.at("pairs_dropped").get<double>();
  figures.pairs_dropped = dropped > 0 ? dropped / (kept + dropped) : 0.0;
  figures.digest = summary.at("digest").get<std::string>();
  if (summary.contains("predicted_s")) {
    // Of the measured time, which may leave out what the plan does not know of.
    figures.predicted_s = summary.at("predicted_s").get<double>() / summary.at("measured_s").get<double>() * figures.loop_s;
    figures.prediction_is_bound = summary.at("prediction_is_bound").get<bool>() ? 1.0 : 0.0;
  }
  figures.expert_calls = summary.at("expert_calls").get<double>();
  add_work(results, run.dilation, figures);
  return figures;
}

nlohmann::json plan_of(const StudyOptions& options, const StudyRun& run) {
  return json_of(options, 1, fmt::format("{} --ranks {} --json", command_of(options, run, "plan"), run.num_ranks));
}

std::filesystem::path profile_of(const StudyOptions& options, const StudyRun& run) {
  const std::filesystem::path path = options.work / "profiles" / fmt::format("{}_{}ranks.json", run.model.name, run.num_ranks);
  if (std::filesystem::exists(path)) return path;
  std::filesystem::create_directories(path.parent_path());
  run_ranks(run.num_ranks, fmt::format("{} --out {} 2>/dev/null", command_of(options, run, "profile"), quoted(path.native())));
  return path;
}

std::filesystem::path trace_of(const StudyOptions& options, const StudyRun& run) {
  StudyRun recording{.cell = "routing of " + run.model.name, .variant = run.requests.name(), .model = run.model, .requests = run.requests, .num_ranks = 1};
  recording.settings = {{"placement.record_trace", "true"}};
  const std::filesystem::path path = results_of(options, recording);
  if (!std::filesystem::exists(path / "results.h5")) run_once(options, recording);
  return path;
}

/// A run in slow motion that does not count is tried again: another program may have had the cores for a moment.
StudyFigures run_until_valid(const StudyOptions& options, const StudyRun& run) {
  StudyFigures figures = run_once(options, run);
  for (int tried = 1; tried < options.tries && figures.valid == 0; ++tried) {
    std::fprintf(stderr, "  does not count (real computation %.0f %%), once more\n", 100 * figures.compute_share);
    figures = run_once(options, run);
  }
  return figures;
}

std::vector<StudyFigures> run_all(const StudyOptions& options, StudyStore& store, const std::vector<StudyRun>& runs) {
  std::vector<StudyFigures> figures;
  const double start_s = now_s();
  int num_run = 0;
  // What was run before and did not count is run again.
  const auto is_new = [&](const StudyRun& run) {
    const StoredRun* stored = store.find(run);
    return stored == nullptr || (run.dilation > 0 && stored->figures.valid == 0);
  };
  const auto num_new = std::ranges::count_if(runs, is_new);
  for (const StudyRun& run : runs) {
    if (is_new(run)) {
      std::fprintf(stderr, "[%d/%d, %.0f s] %s\n", ++num_run, static_cast<int>(num_new), now_s() - start_s, run.key().c_str());
      store.add(run, run_until_valid(options, run));
    }
    figures.push_back(store.find(run)->figures);
  }
  std::fprintf(stderr, "%d runs in %.0f s, %d were in %s already\n", num_run, now_s() - start_s, static_cast<int>(runs.size()) - num_run,
               store.file().c_str());
  return figures;
}

}  // namespace moebius::bench
