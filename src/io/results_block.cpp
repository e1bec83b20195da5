// SPDX-License-Identifier: Apache-2.0
#include "io/results_block.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

#include "base/check.hpp"
#include "io/durable_file.hpp"
#include "io/hdf5_data.hpp"
#include "io/output_directory.hpp"
#include "io/row_columns.hpp"
#include "io/utc_time.hpp"

namespace moebius::io {
namespace {

std::pair<std::int64_t, std::int32_t> key(const Row& row) { return {row.input_line, row.choice_idx}; }

std::int64_t next_sequence(const std::filesystem::path& directory, RankId rank) {
  std::int64_t next = 0;
  for (const auto& entry : std::filesystem::directory_iterator(blocks_path(directory))) {
    const auto block = parse_block_name(entry.path().filename().native());
    if (block && block->rank == rank) next = std::max(next, block->sequence + 1);
  }
  return next;
}

void write_columns(hid_t file, const RowColumns& columns) {
  for_each_column(columns, [&](const Column& column, const auto& values) {
    std::vector<hsize_t> dims{values.size()};
    if (column.extent == Extent::topk) dims = {columns.token_id.size(), static_cast<hsize_t>(columns.topk_width)};
    write_array(file, column, dims, values.data());
  });
}

}  // namespace

BlockWriter::BlockWriter(std::filesystem::path directory, RankId rank, int rows_per_block, std::string job_fingerprint,
                         std::int64_t run)
    : directory_(std::move(directory)),
      rank_(rank),
      rows_per_block_(static_cast<std::size_t>(rows_per_block)),
      job_fingerprint_(std::move(job_fingerprint)),
      run_(run),
      journal_(directory_),
      sequence_(next_sequence(directory_, rank)) {
  MOEBIUS_EXPECT(rows_per_block > 0 && rank.valid());
}

void BlockWriter::add(std::vector<Row> rows) {
  MOEBIUS_EXPECT(!rows.empty());
  MOEBIUS_EXPECT(
      std::all_of(rows.begin(), rows.end(), [&](const Row& row) { return row.input_line == rows.front().input_line; }));
  if (pending_.size() + rows.size() > rows_per_block_) commit_block();
  pending_.insert(pending_.end(), std::make_move_iterator(rows.begin()), std::make_move_iterator(rows.end()));
  if (pending_.size() >= rows_per_block_) commit_block();
}

void BlockWriter::finish() { commit_block(); }

void BlockWriter::commit_block() {
  if (pending_.empty()) return;
  std::sort(pending_.begin(), pending_.end(), [](const Row& a, const Row& b) { return key(a) < key(b); });
  MOEBIUS_EXPECT(std::adjacent_find(pending_.begin(), pending_.end(),
                                    [](const Row& a, const Row& b) { return key(a) == key(b); }) == pending_.end());
  const RowColumns columns = to_columns(pending_);
  const BlockName name{rank_, sequence_};
  const std::filesystem::path temporary = blocks_path(directory_) / temporary_block_name(name, run_);
  write_block_file(temporary, columns);

  JournalRecord record = record_of(columns);
  record.checksum = file_checksum(temporary);
  const std::filesystem::path final_name = blocks_path(directory_) / block_name(name, record.checksum);
  record.file = final_name.lexically_relative(directory_).generic_string();
  const auto file_bytes = static_cast<std::int64_t>(std::filesystem::file_size(temporary));
  commit_file(temporary, final_name);
  journal_.append(record);

  pending_.clear();
  ++sequence_;
  ++num_blocks_;
  num_rows_ += record.num_rows;
  num_failed_ += record.num_failed;
  num_bytes_ += file_bytes;
  digest_ += record.digest;
}

void BlockWriter::write_block_file(const std::filesystem::path& name, const RowColumns& columns) const {
  Hdf5File file = create_hdf5(name);
  write_columns(file.get(), columns);
  write_attribute(file.get(), "format_version", std::int64_t{1});
  write_attribute(file.get(), "rank", std::int64_t{rank_.value});
  write_attribute(file.get(), "sequence", sequence_);
  write_attribute(file.get(), "job_fingerprint", job_fingerprint_);
  file.close(name.native());
}

JournalRecord BlockWriter::record_of(const RowColumns& columns) const {
  JournalRecord record;
  record.run = run_;
  record.rank = rank_;
  record.sequence = sequence_;
  record.num_rows = static_cast<std::int64_t>(columns.num_rows());
  record.num_tokens = static_cast<std::int64_t>(columns.token_id.size());
  for (std::size_t row = 0; row < columns.num_rows(); ++row) {
    if (!succeeded(static_cast<RowStatus>(columns.status[row]))) ++record.num_failed;
    record.digest += Digest128{.low = columns.digest_low[row], .high = columns.digest_high[row]};
  }
  record.job_fingerprint = job_fingerprint_;
  record.utc = utc_now();
  return record;
}

}  // namespace moebius::io
