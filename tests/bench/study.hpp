// SPDX-License-Identifier: Apache-2.0
#pragma once
// Studies: many small jobs, each beside its control, whose figures go into one HDF5 file and a table. A study is a list of runs; what
// runs them, keeps them and prints them is here and the same for all.
//
// A run is one `mpirun moebius run` with --force-new into a folder of its own, read back through io::ResultsReader. Runs of one cell
// differ in their variant alone ("async", "lockstep"); gains are ratios between them. In slow motion (emulation.device) every time is
// one of the emulated device: wall time over the dilation.

#include <cstdint>
#include <filesystem>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace moebius::bench {

/// A small checkpoint with the layers, experts and top-k of a published model, whose sizes count in slow motion.
struct StudyModel {
  std::string name;                     ///< of its folder
  std::vector<std::string> arguments;   ///< of moebius make-model; empty: a checkpoint of the tree
  std::string path = {};                ///< of that checkpoint
  std::string emulated = {};            ///< emulation.model; empty: own
};

/// Requests of random token ids, the same in every run.
struct StudyRequests {
  enum class Kind : std::uint8_t {
    prefill,  ///< texts that are scored
    decode,   ///< short prompts that are continued
  };
  Kind kind = Kind::prefill;
  int count = 0, prompt_tokens = 0, new_tokens = 0;
  bool unequal_lengths = false;  ///< from a quarter to seven quarters of these
  std::uint64_t seed = 1;
  int vocab_size = 512;
  [[nodiscard]] std::string name() const;
};

using Settings = std::vector<std::pair<std::string, std::string>>;  ///< key, value as in --set

struct StudyRun {
  std::string cell, variant;
  StudyModel model;
  StudyRequests requests;
  int num_ranks = 2;
  Settings settings;
  double dilation = 0;  ///< 0: real time
  [[nodiscard]] std::string key() const { return cell + " | " + variant; }
  /// All that decides the figures, as text: a stored run with other settings is run again.
  [[nodiscard]] std::string description() const;
};

/// What a run found out. Times are those of the emulated device in slow motion.
struct StudyFigures {
  double loop_s = 0, tokens_per_s = 0;
  double idle_mean = 0, idle_max = 0;  ///< share of the run in which a rank does not compute, but waits: mean and largest of ranks
  double rows_per_call = 0;            ///< of an expert call
  double expert_calls = 0;
  double busy_s_max = 0, busy_s_mean = 0;      ///< time that a rank computes: largest and mean of ranks
  double activated_max = 0, rows_max = 0;      ///< of a rank in a micro-batch, mean of micro-batches
  double inter_token_p50_s = 0, inter_token_p99_s = 0;
  double pairs_dropped = 0;            ///< share of (row, expert) pairs
  double exposed_mean = std::numeric_limits<double>::quiet_NaN();  ///< share of the run without work while a message was under way, mean of ranks
  double predicted_s = 0;              ///< that the plan of the run said loop_s would be; 0: nothing
  double prediction_is_bound = 0;      ///< 1: it said at least
  double compute_share = 0;            ///< slow motion: share of wall time that real computation took
  double valid = 1;                    ///< slow motion: 0 where that share was too large
  std::string digest;
};

/// The figures by name, for files and tables.
struct FigureColumn {
  const char* name;
  double StudyFigures::*value;
  const char* long_name;
  const char* units;
};
const std::vector<FigureColumn>& figure_columns();

struct StoredRun {
  std::string cell, variant, description;
  int num_ranks = 0;
  double dilation = 0;
  StudyFigures figures;
};

/// One HDF5 file of runs; each added run is on disk when add returns.
class StudyStore {
 public:
  explicit StudyStore(std::filesystem::path file);
  [[nodiscard]] const StoredRun* find(const StudyRun& run) const;
  void add(const StudyRun& run, const StudyFigures& figures);
  [[nodiscard]] const std::filesystem::path& file() const { return file_; }

 private:
  std::filesystem::path file_;
  std::vector<StoredRun> runs_;
};

struct StudyOptions {
  std::string program;             ///< moebius
  std::filesystem::path work;      ///< models, requests and results of runs
  std::filesystem::path file;      ///< HDF5
  int tries = 3;                   ///< of a run in slow motion until it counts
  std::string only;                ///< async, pipeline: cells with this text in their section or name; empty: all
};

/// Makes what a run needs where it is not there, runs it, reads its results. Throws std::runtime_error where it fails.
StudyFigures run_once(const StudyOptions& options, const StudyRun& run);

/// What `moebius plan --json` says of the job of a run.
nlohmann::json plan_of(const StudyOptions& options, const StudyRun& run);

/// Costs of this machine, as `moebius profile` measures them with the job of a run: once for each model of a folder.
std::filesystem::path profile_of(const StudyOptions& options, const StudyRun& run);

/// Results of its requests with the routing of its model recorded, computed on one rank in real time: once for each folder.
std::filesystem::path trace_of(const StudyOptions& options, const StudyRun& run);

/// The results of a run stay here until the next run of the same name.
std::filesystem::path results_of(const StudyOptions& options, const StudyRun& run);

/// All runs, those that the file has already left out; progress on stderr. [runs.size()] figures.
std::vector<StudyFigures> run_all(const StudyOptions& options, StudyStore& store, const std::vector<StudyRun>& runs);

/// A table of text columns, as plain text and as Markdown the same.
class StudyTable {
 public:
  explicit StudyTable(std::vector<std::string> head) : rows_{std::move(head)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  [[nodiscard]] std::string markdown() const;
  [[nodiscard]] bool empty() const { return rows_.size() == 1; }

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// Processor, cores, date: a line above each table.
std::string machine_line();
std::string fixed(double value, int digits);
std::string percent(double share);

// The published shapes, 64 wide. top_k, num_layers 0: as published. skew: Zipf exponent of the router, none: as make-model does without.
StudyModel mixtral_8x7b(std::optional<double> skew = {});
StudyModel qwen3_30b_a3b(int top_k = 0, std::optional<double> skew = {}, int num_layers = 0);
StudyModel deepseek_v3(int num_layers = 0);
// Without dense layers, and without groups in the router.
StudyModel deepseek_v2(int num_layers);
StudyModel qwen3_235b_a22b(int num_layers);
/// emulation.* of a H100 with the sizes of the model.
Settings as_h100(const StudyModel& model, double dilation);
Settings operator+(Settings first, const Settings& more);

// The studies. Each returns Markdown; `quick` runs a few cells.
std::string async_study(const StudyOptions& options, bool quick);
std::string pipeline_study(const StudyOptions& options, bool quick);
std::string placement_study(const StudyOptions& options, bool quick);
std::string replicas_study(const StudyOptions& options, bool quick);
std::string capacity_study(const StudyOptions& options, bool quick);

}  // namespace moebius::bench
