// SPDX-License-Identifier: Apache-2.0
#include "io/results_master.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <optional>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "io/block_index.hpp"
#include "io/durable_file.hpp"
#include "io/emulation_table.hpp"
#include "io/predicted_table.hpp"
#include "io/output_directory.hpp"
#include "io/run_tables.hpp"
#include "io/utc_time.hpp"
#include "io/virtual_layout.hpp"

namespace moebius::io {
namespace {

using RunsByBlock = std::vector<std::vector<ElementRun>>;  // [blocks]

/// One ragged extent of the master: where each row starts, and where each block's elements lie.
struct RaggedMap {
  std::vector<std::int64_t> offsets{0};  // [rows + 1]
  RunsByBlock runs;
};

RunsByBlock row_runs(const BlockIndex& index) {
  RunsByBlock runs(index.blocks.size());
  for (std::size_t row = 0; row < index.order.size(); ++row)
    append_run(runs[static_cast<std::size_t>(index.order[row].block_idx)], {.first = row, .count = 1});
  return runs;
}

RaggedMap ragged_map(const BlockIndex& index, std::size_t extent_idx) {
  RaggedMap map{.runs = RunsByBlock(index.blocks.size())};
  map.offsets.reserve(index.order.size() + 1);
  for (const RowPlace& place : index.order) {
    const auto block_idx = static_cast<std::size_t>(place.block_idx);
    const std::vector<std::int64_t>& offsets = index.blocks[block_idx].layout.offsets[extent_idx];
    const auto row = static_cast<std::size_t>(place.row_idx);
    const std::int64_t length = offsets[row + 1] - offsets[row], first = map.offsets.back();
    append_run(map.runs[block_idx], {static_cast<hsize_t>(first), static_cast<hsize_t>(length)});
    map.offsets.push_back(first + length);
  }
  return map;
}

/// Source widths are given for tables only.
VirtualLayout layout_over(const BlockIndex& index, const RunsByBlock& runs, hsize_t num_elements,
                          std::optional<hsize_t> width = {}) {
  VirtualLayout layout(num_elements, width);
  for (std::size_t i = 0; i < index.blocks.size(); ++i) {
    const IndexedBlock& block = index.blocks[i];
    layout.add_block(block.record.file, runs[i], width ? static_cast<hsize_t>(block.layout.topk_width) : 1);
  }
  return layout;
}

/// Everything the columns need, made once: a layout per extent and the offsets of the ragged ones.
class MasterLayout {
 public:
  explicit MasterLayout(const BlockIndex& index) : rows_(layout_over(index, row_runs(index), index.order.size())) {
    hsize_t width = 0;
    for (const IndexedBlock& block : index.blocks)
      width = std::max(width, static_cast<hsize_t>(block.layout.topk_width));
    for (std::size_t i = 0; i < std::size(ragged_extents); ++i) {
      RaggedMap map = ragged_map(index, i);
      const auto num_elements = static_cast<hsize_t>(map.offsets.back());
      ragged_.push_back(layout_over(index, map.runs, num_elements));
      if (ragged_extents[i] == Extent::tokens) topk_ = layout_over(index, map.runs, num_elements, width);
      offsets_.push_back(std::move(map.offsets));
    }
  }

  [[nodiscard]] const VirtualLayout& of(Extent extent) const {
    if (extent == Extent::rows) return rows_;
    if (extent == Extent::topk) return topk_;
    return ragged_[ragged_position([&](Extent other) { return other == extent; })];
  }
  [[nodiscard]] const std::vector<std::int64_t>& offsets(const Column& column) const {
    return offsets_[ragged_position([&](Extent extent) { return &offsets_column(extent) == &column; })];
  }
  [[nodiscard]] std::int64_t num_tokens() const { return offsets(columns::token_offsets).back(); }

 private:
  static std::size_t ragged_position(const std::function<bool(Extent)>& wanted) {
    for (std::size_t i = 0; i < std::size(ragged_extents); ++i)
      if (wanted(ragged_extents[i])) return i;
    throw ContractError("no such ragged extent");
  }
  VirtualLayout rows_;
  VirtualLayout topk_{0, 0};
  std::vector<VirtualLayout> ragged_;               // [ragged_extents]
  std::vector<std::vector<std::int64_t>> offsets_;  // [ragged_extents]
};

void write_row_tables(hid_t file, const MasterLayout& layout) {
  const RowColumns none;
  for_each_column(none, [&](const Column& column, const auto&) {
    if (column.extent == Extent::row_offsets) {
      const std::vector<std::int64_t>& offsets = layout.offsets(column);
      const hsize_t dims[] = {offsets.size()};
      write_array(file, column, dims, offsets.data());
      return;
    }
    const VirtualLayout& mapped = layout.of(column.extent);
    const Hdf5Properties creation = new_array_layout(column.kind);
    mapped.apply(creation.get(), column.path);
    write_virtual_array(file, column, mapped.dims(), creation.get());
  });
}

void write_run_attributes(hid_t file, const RunRecord& record, const MasterSummary& summary) {
  write_attribute(file, "format_version", std::int64_t{1});
  for (const auto& [name, value] : record.texts) write_attribute(file, name.c_str(), value);
  write_attribute(file, "seed", record.seed);
  write_attribute(file, "restart_count", record.restart_count);
  write_attribute(file, "start_utc", record.start_utc);
  write_attribute(file, "end_utc", record.end_utc);
  write_attribute(file, "num_rows_expected", record.num_rows_expected);
  write_attribute(file, "num_rows", summary.num_rows);
  write_attribute(file, "num_tokens", summary.num_tokens);
  write_attribute(file, "num_failed", summary.num_failed);
  write_attribute(file, "num_blocks", summary.num_blocks);
  write_attribute(file, "invariance_digest", to_hex(summary.digest));
}

MasterSummary summarize(const BlockIndex& index, const MasterLayout& layout) {
  MasterSummary summary;
  summary.num_rows = static_cast<std::int64_t>(index.order.size());
  summary.num_tokens = layout.num_tokens();
  summary.num_blocks = static_cast<std::int64_t>(index.blocks.size());
  for (const IndexedBlock& block : index.blocks) {
    summary.num_failed += block.record.num_failed;
    summary.digest += block.record.digest;
  }
  return summary;
}

}  // namespace

MasterSummary write_master(const std::filesystem::path& directory, const RunRecord& record, const std::string& job_fingerprint,
                           std::int64_t run) {
  const BlockIndex index = read_block_index(directory);
  if (index.run != run)
    throw Failure{ExitCode::bad_usage, fmt::format("cannot finish the results in {} (another job has taken the folder over) let that job "
                                                   "end, or choose another output.path",
                                                   directory.native())};
  const MasterLayout layout(index);
  const MasterSummary summary = summarize(index, layout);
  const std::filesystem::path name = master_path(directory), temporary = master_path(directory).concat(".tmp");
  Hdf5File file = create_hdf5(temporary);
  write_run_attributes(file.get(), record, summary);
  write_row_tables(file.get(), layout);
  write_run_tables(file.get(), record);
  write_emulation(file.get(), record.emulation);
  write_predicted(file.get(), record.predicted);
  file.close(temporary.native());
  const std::uint64_t checksum = file_checksum(temporary);
  commit_file(temporary, name);
  Journal(directory).append({.kind = RecordKind::master,
                             .run = run,
                             .file = name.filename().native(),
                             .rank = RankId(0),
                             .sequence = 0,
                             .num_rows = summary.num_rows,
                             .num_tokens = summary.num_tokens,
                             .num_failed = summary.num_failed,
                             .checksum = checksum,
                             .digest = summary.digest,
                             .job_fingerprint = job_fingerprint,
                             .utc = utc_now()});
  return summary;
}

}  // namespace moebius::io
