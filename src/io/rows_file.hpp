// SPDX-License-Identifier: Apache-2.0
#pragma once
// Reads rows from one HDF5 file with the tables of row_columns.hpp: a row block, or results.h5, whose
// tables are the blocks seen through virtual datasets. For the sources of `io` only.
// Trusts nothing: shapes must agree and offsets must rise, else a Failure names the file and dataset.

#include <array>
#include <cstdint>
#include <filesystem>
#include <vector>

#include "base/request.hpp"
#include "io/hdf5_data.hpp"
#include "io/row_columns.hpp"

namespace moebius::io {

/// What the master must know of a block: who its rows are and how long their ragged parts.
struct RowsLayout {
  std::vector<std::int64_t> input_line;                                      // [rows]
  std::vector<std::int32_t> choice_idx;                                      // [rows]
  std::array<std::vector<std::int64_t>, std::size(ragged_extents)> offsets;  // [rows + 1] each, from 0
  std::int64_t topk_width = 0;
};

class RowsFile {
 public:
  explicit RowsFile(const std::filesystem::path& file);

  [[nodiscard]] std::int64_t num_rows() const { return num_rows_; }
  [[nodiscard]] std::int64_t num_tokens() const { return static_cast<std::int64_t>(total(Extent::tokens)); }
  /// Columns of rows [first, first + count), offsets counted from 0 again. Missing rows have missing_status.
  [[nodiscard]] RowColumns read_columns(std::int64_t first, std::int64_t count) const;
  /// Rows [first, first + count). Failure where one of them lies in a block that is not there.
  [[nodiscard]] std::vector<Row> read_rows(std::int64_t first, std::int64_t count) const;
  /// How many rows from `first` on hold no more than `max_tokens` tokens together: at least 1, at most
  /// `max_rows` (fewer at the end of the file).
  [[nodiscard]] std::int64_t rows_within(std::int64_t first, std::int64_t max_rows, std::int64_t max_tokens) const;
  [[nodiscard]] RowsLayout layout() const;
  /// The open file, for its attributes and other tables.
  [[nodiscard]] hid_t file() const { return file_.get(); }

 private:
  [[nodiscard]] hsize_t total(Extent extent) const { return totals_[static_cast<std::size_t>(extent)]; }
  void check_shapes() const;
  /// Offsets of rows [first, first + count] as they stand in the file, checked.
  [[nodiscard]] std::vector<std::int64_t> read_offsets(const Column& column, Extent extent, std::int64_t first,
                                                       std::int64_t count) const;
  [[noreturn]] void damaged(const char* dataset, const char* why) const;

  std::filesystem::path path_;
  Hdf5File file_;
  std::vector<OpenArray> arrays_;    // in the order of for_each_column
  std::array<hsize_t, 7> totals_{};  // [Extent]
  std::int64_t num_rows_ = 0, topk_width_ = 0;
};

/// The offsets column that belongs to a ragged extent.
const Column& offsets_column(Extent extent);

}  // namespace moebius::io
