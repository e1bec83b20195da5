// SPDX-License-Identifier: Apache-2.0
#pragma once
// Tables as vectors of structs: a list of columns, each with its place in the file and the field it holds, and from the
// list the writer and the reader. For the sources of `io` only.
// A text is stored as text, so is a Phase in a column of texts; numbers as their kind says.

#include <algorithm>
#include <cstdint>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "base/timing.hpp"
#include "io/hdf5_data.hpp"

namespace moebius::io {

/// `field` gives a reference to what the column holds of a record.
template <class Field>
struct TableColumn {
  ArraySpec spec;
  Field field;
  bool is_new = false;  ///< not in files of earlier versions: its fields then keep what they have
};
template <class Field>
constexpr TableColumn<Field> column(const char* path, ElementKind kind, const char* long_name, const char* units, Field field) {
  return {{path, kind, long_name, units}, field};
}
template <class Field>
constexpr TableColumn<Field> new_column(const char* path, ElementKind kind, const char* long_name, const char* units, Field field) {
  return {{path, kind, long_name, units}, field, true};
}

/// Failure(unreadable_input): what stands at `path` is not what the format says.
[[noreturn]] void wrong_shape(const char* path, const std::string& why);
/// Failure(unreadable_input) for a name that no phase has.
Phase phase_named(const std::string& name);

/// All of an array with so many dimensions; its shape goes to `dims`.
template <class Value>
std::vector<Value> read_all(hid_t file, const ArraySpec& spec, std::size_t num_dims, std::vector<hsize_t>& dims) {
  const OpenArray array = open_array(file, spec.path);
  if (array.dims.size() != num_dims) wrong_shape(spec.path, "it has another number of dimensions");
  dims = array.dims;
  hsize_t size = 1;
  for (const hsize_t dim : dims) size *= dim;
  std::vector<Value> values(size);
  read_array(array, spec, 0, dims[0], values.data());
  return values;
}

template <class Column, class Record>
using FieldOf = std::remove_cvref_t<decltype(std::declval<const Column&>().field(std::declval<Record&>()))>;
template <class Column, class Record>
inline constexpr bool is_text = std::is_same_v<FieldOf<Column, Record>, std::string>;

template <class Record, class Column>
void write_column(hid_t file, const std::vector<Record>& records, const Column& column) {
  if (column.spec.kind == ElementKind::byte) {
    std::vector<std::string> texts;
    for (const Record& record : records) {
      if constexpr (is_text<Column, const Record>) texts.push_back(column.field(record));
      else if constexpr (std::is_same_v<FieldOf<Column, const Record>, Phase>) texts.emplace_back(to_string(column.field(record)));
    }
    return write_strings(file, column.spec, texts);
  }
  if constexpr (!is_text<Column, const Record>) {
    std::vector<FieldOf<Column, const Record>> values;
    for (const Record& record : records) values.push_back(column.field(record));
    MOEBIUS_EXPECT(sizeof(values[0]) == element_size(column.spec.kind));
    const hsize_t dims[] = {values.size()};
    write_array(file, column.spec, dims, values.data());
  }
}

/// The first column says how many records there are.
template <class Record, class Column>
void read_column(hid_t file, std::vector<Record>& records, const Column& column, bool is_first) {
  if (column.is_new && !has_array(file, column.spec.path)) return;
  const auto fill = [&](const auto& values, auto convert) {
    if (is_first) records.resize(values.size());
    if (values.size() != records.size()) wrong_shape(column.spec.path, "its length does not agree with its table");
    for (std::size_t i = 0; i < values.size(); ++i) column.field(records[i]) = convert(values[i]);
  };
  if (column.spec.kind == ElementKind::byte) {
    const std::vector<std::string> texts = read_strings(file, column.spec.path);
    if constexpr (is_text<Column, Record>) return fill(texts, [](const std::string& text) { return text; });
    else if constexpr (std::is_same_v<FieldOf<Column, Record>, Phase>) return fill(texts, phase_named);
  }
  if constexpr (!is_text<Column, Record>) {
    std::vector<hsize_t> dims;
    fill(read_all<FieldOf<Column, Record>>(file, column.spec, 1, dims), [](auto value) { return value; });
  }
}

/// `columns` is a tuple of TableColumn.
template <class Record, class Columns>
void write_table(hid_t file, const std::vector<Record>& records, const Columns& columns) {
  std::apply([&](const auto&... column) { (write_column(file, records, column), ...); }, columns);
}

/// Empty where the file has no such table, as one of an earlier version.
template <class Record, class Columns>
std::vector<Record> read_table(hid_t file, const Columns& columns) {
  std::vector<Record> records;
  if (!has_array(file, std::get<0>(columns).spec.path)) return records;
  bool is_first = true;
  std::apply([&](const auto&... column) { ((read_column(file, records, column, is_first), is_first = false), ...); }, columns);
  return records;
}

}  // namespace moebius::io
