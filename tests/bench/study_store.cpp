// SPDX-License-Identifier: Apache-2.0
// The file of a study: /runs/<column>, one element a run.
#include <algorithm>
#include <stdexcept>

#include "io/hdf5_data.hpp"
#include "tests/bench/study.hpp"

namespace moebius::bench {
namespace {

using io::ArraySpec;
using io::ElementKind;

constexpr ArraySpec cell{"/runs/cell", ElementKind::byte, "what is compared", "UTF-8"};
constexpr ArraySpec variant{"/runs/variant", ElementKind::byte, "what differs within a cell", "UTF-8"};
constexpr ArraySpec description{"/runs/description", ElementKind::byte, "model, requests, ranks and job keys", "UTF-8"};
constexpr ArraySpec digest{"/runs/digest", ElementKind::byte, "invariance digest of the results", "UTF-8"};
constexpr ArraySpec num_ranks{"/runs/num_ranks", ElementKind::i32, "ranks", "1"};
constexpr ArraySpec dilation{"/runs/dilation", ElementKind::f64, "seconds here for one of the emulated device; 0: real time", "1"};

std::string path_of(const FigureColumn& column) { return std::string("/runs/") + column.name; }

template <class Value>
std::vector<Value> read_column(hid_t file, const ArraySpec& spec) {
  const io::OpenArray array = io::open_array(file, spec.path);
  std::vector<Value> values(array.dims.at(0));
  io::read_array(array, spec, 0, array.dims[0], values.data());
  return values;
}

template <class Value, class Field>
void write_column(hid_t file, const ArraySpec& spec, const std::vector<StoredRun>& runs, Field field) {
  std::vector<Value> values;
  for (const StoredRun& run : runs) values.push_back(field(run));
  const hsize_t dims[] = {values.size()};
  io::write_array(file, spec, dims, values.data());
}

template <class Field>
void write_texts(hid_t file, const ArraySpec& spec, const std::vector<StoredRun>& runs, Field field) {
  std::vector<std::string> values;
  for (const StoredRun& run : runs) values.push_back(field(run));
  io::write_strings(file, spec, values);
}

std::vector<StoredRun> read_runs(const std::filesystem::path& path) {
  const io::Hdf5File file = io::open_hdf5(path);
  const auto cells = io::read_strings(file.get(), cell.path), variants = io::read_strings(file.get(), variant.path);
  const auto descriptions = io::read_strings(file.get(), description.path), digests = io::read_strings(file.get(), digest.path);
  const auto ranks = read_column<std::int32_t>(file.get(), num_ranks);
  const auto dilations = read_column<double>(file.get(), dilation);
  std::vector<StoredRun> runs;
  for (std::size_t i = 0; i < cells.size(); ++i) {
    runs.push_back({cells[i], variants.at(i), descriptions.at(i), ranks.at(i), dilations.at(i), {}});
    runs.back().figures.digest = digests.at(i);
  }
  for (const FigureColumn& column : figure_columns()) {
    const std::string where = path_of(column);
    if (!io::has_array(file.get(), where)) continue;  // a file from before there was this figure
    const auto values = read_column<double>(file.get(), {where.c_str(), ElementKind::f64, column.long_name, column.units});
    for (std::size_t i = 0; i < runs.size(); ++i) runs[i].figures.*column.value = values.at(i);
  }
  return runs;
}

void write_runs(const std::filesystem::path& path, const std::vector<StoredRun>& runs) {
  std::filesystem::path unfinished = path;
  unfinished += ".new";
  io::Hdf5File file = io::create_hdf5(unfinished);
  io::write_attribute(file.get(), "machine", machine_line());
  write_texts(file.get(), cell, runs, [](const StoredRun& run) { return run.cell; });
  write_texts(file.get(), variant, runs, [](const StoredRun& run) { return run.variant; });
  write_texts(file.get(), description, runs, [](const StoredRun& run) { return run.description; });
  write_texts(file.get(), digest, runs, [](const StoredRun& run) { return run.figures.digest; });
  write_column<std::int32_t>(file.get(), num_ranks, runs, [](const StoredRun& run) { return run.num_ranks; });
  write_column<double>(file.get(), dilation, runs, [](const StoredRun& run) { return run.dilation; });
  for (const FigureColumn& column : figure_columns()) {
    const std::string where = path_of(column);
    write_column<double>(file.get(), {where.c_str(), ElementKind::f64, column.long_name, column.units}, runs,
                         [&](const StoredRun& run) { return run.figures.*column.value; });
  }
  file.close(unfinished.native());
  std::filesystem::rename(unfinished, path);
}

}  // namespace

const std::vector<FigureColumn>& figure_columns() {
  using F = StudyFigures;
  static const std::vector<FigureColumn> columns{
      {"loop_s", &F::loop_s, "longest event loop of a rank", "s"},
      {"tokens_per_s", &F::tokens_per_s, "positions computed per second of the loop", "1/s"},
      {"idle_mean", &F::idle_mean, "share of the loop in which a rank does not compute, mean of ranks", "1"},
      {"idle_max", &F::idle_max, "share of the loop in which a rank does not compute, largest of ranks", "1"},
      {"rows_per_call", &F::rows_per_call, "rows of an expert call", "1"},
      {"expert_calls", &F::expert_calls, "expert calls of all ranks", "1"},
      {"busy_s_max", &F::busy_s_max, "time that a rank computes, largest of ranks", "s"},
      {"busy_s_mean", &F::busy_s_mean, "time that a rank computes, mean of ranks", "s"},
      {"activated_max", &F::activated_max, "most activated experts of a rank in a micro-batch, mean of micro-batches", "1"},
      {"rows_max", &F::rows_max, "most rows of a rank in a micro-batch, mean of micro-batches", "1"},
      {"inter_token_p50_s", &F::inter_token_p50_s, "time between tokens of a generation, median", "s"},
      {"inter_token_p99_s", &F::inter_token_p99_s, "time between tokens of a generation, 99th of 100", "s"},
      {"pairs_dropped", &F::pairs_dropped, "share of (row, expert) pairs above the capacity", "1"},
      {"exposed_mean", &F::exposed_mean, "share of the loop without work while a message to the rank was under way, mean of ranks", "1"},
      {"predicted_s", &F::predicted_s, "what the plan of the run said that loop_s would be, 0: nothing", "s"},
      {"prediction_is_bound", &F::prediction_is_bound, "1: the plan said at least", "1"},
      {"compute_share", &F::compute_share, "slow motion: share of wall time that real computation took", "1"},
      {"valid", &F::valid, "slow motion: 0 where that share was too large", "1"},
  };
  return columns;
}

StudyStore::StudyStore(std::filesystem::path file) : file_(std::move(file)) {
  if (std::filesystem::exists(file_)) runs_ = read_runs(file_);
}

const StoredRun* StudyStore::find(const StudyRun& run) const {
  const auto found = std::ranges::find_if(runs_, [&, wanted = run.description()](const StoredRun& stored) {
    return stored.cell == run.cell && stored.variant == run.variant && stored.description == wanted;
  });
  return found == runs_.end() ? nullptr : &*found;
}

void StudyStore::add(const StudyRun& run, const StudyFigures& figures) {
  std::erase_if(runs_, [&](const StoredRun& stored) { return stored.cell == run.cell && stored.variant == run.variant; });
  runs_.push_back({run.cell, run.variant, run.description(), run.num_ranks, run.dilation, figures});
  write_runs(file_, runs_);
}

}  // namespace moebius::bench
