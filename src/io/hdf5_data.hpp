// SPDX-License-Identifier: Apache-2.0
#pragma once
// Arrays and attributes in HDF5 files, as FORMAT.md wants them: little-endian, fixed length, chunked,
// compressed, each with `long_name` and `units`, and with a fill value that cannot be mistaken for data.
// For the sources of `io` only.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "io/hdf5_handle.hpp"

namespace moebius::io {

/// Element types of our files. The enumerations are one byte wide and carry their names in the file.
enum class ElementKind : std::uint8_t { byte, i32, i64, u64, f32, f64, status, finish_reason, truth, phase };
std::size_t element_size(ElementKind kind);
Hdf5Type file_type(ElementKind kind);
Hdf5Type memory_type(ElementKind kind);
/// What an element reads as where there is no data: NaN, -1, all bits set, "missing" (255, -1), byte 0.
/// The pointer is to static storage of element_size(kind) bytes.
const void* fill_value(ElementKind kind);

/// Where an array is and what it means.
struct ArraySpec {
  const char* path;  ///< "/rows/status"
  ElementKind kind;
  const char* long_name;
  const char* units;
};

/// An array of one or more dimensions; `data` holds the product of `dims` elements, row-major.
void write_array(hid_t file, const ArraySpec& spec, std::span<const hsize_t> dims, const void* data);
/// Fixed-length UTF-8 strings, zero-padded. `spec.kind` is not looked at.
void write_strings(hid_t file, const ArraySpec& spec, std::span<const std::string> values);
/// An array whose elements lie in other files; `layout` (a dataset creation list) holds the mappings.
void write_virtual_array(hid_t file, const ArraySpec& spec, std::span<const hsize_t> dims, hid_t layout);
/// A dataset creation list with the fill value of `kind` and without time stamps, so that equal data give equal bytes.
Hdf5Properties new_array_layout(ElementKind kind);

void write_attribute(hid_t object, const char* name, std::string_view text);
void write_attribute(hid_t object, const char* name, std::int64_t value);
void write_attribute(hid_t object, const char* name, std::uint64_t value);

/// An open array of a file, with its shape.
struct OpenArray {
  Hdf5Dataset dataset;
  std::vector<hsize_t> dims;
};
/// Is there anything at an absolute path? Failure(unreadable_input) where a link leads there from elsewhere.
bool has_array(hid_t file, std::string_view path);
OpenArray open_array(hid_t file, const char* path);
/// Elements [first, first + count) of the first dimension, all of the others.
void read_array(const OpenArray& array, const ArraySpec& spec, hsize_t first, hsize_t count, void* out);
std::vector<std::string> read_strings(hid_t file, const char* path);

/// All attributes of an object in the order of their names; numbers as decimal text.
std::vector<std::pair<std::string, std::string>> read_attributes(hid_t object);

}  // namespace moebius::io
