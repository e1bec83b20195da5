// SPDX-License-Identifier: Apache-2.0
#include "io/rows_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.hpp"
#include "base/failure.hpp"

namespace moebius::io {
namespace {

/// Where a column stands in the order of for_each_column, which is that of the open arrays.
std::size_t position_of(const Column& column) {
  std::size_t position = 0, found = 0;
  const RowColumns none;
  for_each_column(none, [&](const Column& other, const auto&) {
    if (&other == &column) found = position;
    ++position;
  });
  return found;
}

struct Span {
  hsize_t first = 0, count = 0;
};

std::vector<std::int64_t>& offsets_of(RowColumns& columns, Extent extent) {
  switch (extent) {
    case Extent::custom_id_bytes: return columns.custom_id_offsets;
    case Extent::message_bytes: return columns.message_offsets;
    case Extent::tokens: return columns.token_offsets;
    default: return columns.text_offsets;
  }
}

}  // namespace

const Column& offsets_column(Extent extent) {
  switch (extent) {
    case Extent::custom_id_bytes: return columns::custom_id_offsets;
    case Extent::message_bytes: return columns::message_offsets;
    case Extent::tokens: return columns::token_offsets;
    case Extent::text_bytes: return columns::text_offsets;
    default: break;
  }
  throw ContractError("this extent has no offsets");
}

RowsFile::RowsFile(const std::filesystem::path& file) : path_(file), file_(open_hdf5(file)) {
  const RowColumns none;
  for_each_column(none, [&](const Column& column, const auto&) {
    arrays_.push_back(open_array(file_.get(), column.path));
    const std::vector<hsize_t>& dims = arrays_.back().dims;
    if (dims.size() != (column.extent == Extent::topk ? 2U : 1U))
      damaged(column.path, "it has another number of dimensions");
    totals_[static_cast<std::size_t>(column.extent)] = dims[0];
  });
  num_rows_ = static_cast<std::int64_t>(total(Extent::rows));
  topk_width_ = static_cast<std::int64_t>(arrays_[position_of(columns::topk_id)].dims[1]);
  check_shapes();
}

void RowsFile::damaged(const char* dataset, const char* why) const {
  throw Failure{ExitCode::unreadable_input,
                fmt::format("cannot use {} of {} ({}) run `moebius verify` on its folder and write it again", dataset,
                            path_.native(), why)};
}

void RowsFile::check_shapes() const {
  std::size_t position = 0;
  const RowColumns none;
  for_each_column(none, [&](const Column& column, const auto&) {
    const std::vector<hsize_t>& dims = arrays_[position++].dims;
    const hsize_t wanted = column.extent == Extent::row_offsets ? total(Extent::rows) + 1
                           : column.extent == Extent::topk      ? total(Extent::tokens)
                                                                : total(column.extent);
    if (dims[0] != wanted) damaged(column.path, "its length does not agree with the other datasets");
    if (column.extent == Extent::topk && static_cast<std::int64_t>(dims[1]) != topk_width_)
      damaged(column.path, "its width does not agree with topk_id");
  });
}

std::vector<std::int64_t> RowsFile::read_offsets(const Column& column, Extent extent, std::int64_t first,
                                                 std::int64_t count) const {
  std::vector<std::int64_t> offsets(static_cast<std::size_t>(count) + 1);
  read_array(arrays_[position_of(column)], column, static_cast<hsize_t>(first), static_cast<hsize_t>(count) + 1,
             offsets.data());
  const auto end = static_cast<std::int64_t>(total(extent));
  if (!std::is_sorted(offsets.begin(), offsets.end())) damaged(column.path, "the offsets do not rise");
  if (offsets.front() < 0 || offsets.back() > end) damaged(column.path, "an offset lies outside of its table");
  if (first == 0 && offsets.front() != 0) damaged(column.path, "the first offset is not 0");
  if (first + count == num_rows_ && offsets.back() != end) damaged(column.path, "the last offset is not the length");
  return offsets;
}

RowColumns RowsFile::read_columns(std::int64_t first, std::int64_t count) const {
  MOEBIUS_EXPECT(first >= 0 && count >= 0 && first <= num_rows_ && count <= num_rows_ - first);
  RowColumns columns;
  columns.topk_width = topk_width_;
  std::array<Span, 7> spans{};  // [Extent]
  const auto span_of = [&](Extent extent) -> Span& { return spans[static_cast<std::size_t>(extent)]; };
  span_of(Extent::rows) = {static_cast<hsize_t>(first), static_cast<hsize_t>(count)};
  for (const Extent extent : ragged_extents) {
    std::vector<std::int64_t> offsets = read_offsets(offsets_column(extent), extent, first, count);
    const std::int64_t begin = offsets.front(), end = offsets.back();
    span_of(extent) = {static_cast<hsize_t>(begin), static_cast<hsize_t>(end - begin)};
    for (std::int64_t& offset : offsets) offset -= begin;
    offsets_of(columns, extent) = std::move(offsets);
  }
  span_of(Extent::topk) = span_of(Extent::tokens);
  std::size_t position = 0;
  for_each_column(columns, [&](const Column& column, auto& values) {
    const OpenArray& array = arrays_[position++];
    if (column.extent == Extent::row_offsets) return;
    const Span span = span_of(column.extent);
    values.resize(span.count * (array.dims.size() == 2 ? array.dims[1] : 1));
    read_array(array, column, span.first, span.count, values.data());
  });
  return columns;
}

std::vector<Row> RowsFile::read_rows(std::int64_t first, std::int64_t count) const {
  const RowColumns columns = read_columns(first, count);
  const auto missing = std::find(columns.status.begin(), columns.status.end(), missing_status);
  if (missing != columns.status.end())
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("cannot read row {} of {} (its block is missing or cannot be opened) run `moebius "
                              "verify` on that folder to see which, and bring it back",
                              first + (missing - columns.status.begin()), path_.native())};
  return to_rows(columns);
}

std::int64_t RowsFile::rows_within(std::int64_t first, std::int64_t max_rows, std::int64_t max_tokens) const {
  MOEBIUS_EXPECT(first >= 0 && first < num_rows_ && max_rows > 0);
  const std::int64_t count = std::min(max_rows, num_rows_ - first);
  const std::vector<std::int64_t> offsets = read_offsets(columns::token_offsets, Extent::tokens, first, count);
  const auto beyond = std::upper_bound(offsets.begin(), offsets.end(), offsets.front() + max_tokens);
  return std::max<std::int64_t>(1, beyond - offsets.begin() - 1);
}

RowsLayout RowsFile::layout() const {
  RowsLayout layout;
  const auto n = static_cast<std::size_t>(num_rows_);
  layout.topk_width = topk_width_;
  layout.input_line.resize(n);
  layout.choice_idx.resize(n);
  read_array(arrays_[position_of(columns::input_line)], columns::input_line, 0, n, layout.input_line.data());
  read_array(arrays_[position_of(columns::choice_idx)], columns::choice_idx, 0, n, layout.choice_idx.data());
  for (std::size_t i = 0; i < std::size(ragged_extents); ++i)
    layout.offsets[i] = read_offsets(offsets_column(ragged_extents[i]), ragged_extents[i], 0, num_rows_);
  return layout;
}

}  // namespace moebius::io
