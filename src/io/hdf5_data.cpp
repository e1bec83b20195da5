// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_data.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <tuple>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "base/request.hpp"
#include "base/timing.hpp"
#include "io/output_directory.hpp"

namespace moebius::io {
namespace {

// About one MiB, as HDF5's default chunk cache holds: larger chunks would be decompressed on every read.
constexpr hsize_t chunk_bytes = hsize_t{1} << 20;
// zlib's middle level: on shuffled float log-probs level 9 saves 1 % more and takes nine times as long.
constexpr unsigned deflate_level = 4;

constexpr std::uint8_t missing_code = 255;

void insert_name(const Hdf5Type& type, const char* name, std::int8_t value) {
  hdf5_check(H5Tenum_insert(type.get(), name, &value), "define", name);
}

Hdf5Type status_type() {
  Hdf5Type type(hdf5_check(H5Tenum_create(H5T_STD_U8LE), "define", "the status type"));
  for (std::uint8_t code = 0; code <= static_cast<std::uint8_t>(RowStatus::internal); ++code)
    insert_name(type, to_string(static_cast<RowStatus>(code)), static_cast<std::int8_t>(code));
  insert_name(type, "missing", static_cast<std::int8_t>(missing_code));
  return type;
}

Hdf5Type finish_reason_type() {
  Hdf5Type type(hdf5_check(H5Tenum_create(H5T_STD_U8LE), "define", "the finish reason type"));
  insert_name(type, "none", 0);
  insert_name(type, to_string(FinishReason::stop), static_cast<std::int8_t>(FinishReason::stop));
  insert_name(type, to_string(FinishReason::length), static_cast<std::int8_t>(FinishReason::length));
  insert_name(type, "missing", static_cast<std::int8_t>(missing_code));
  return type;
}

Hdf5Type truth_type() {
  Hdf5Type type(hdf5_check(H5Tenum_create(H5T_STD_I8LE), "define", "the truth type"));
  insert_name(type, "no", 0);
  insert_name(type, "yes", 1);
  insert_name(type, "missing", -1);
  return type;
}

Hdf5Type phase_type() {
  Hdf5Type type(hdf5_check(H5Tenum_create(H5T_STD_U8LE), "define", "the phase type"));
  for (std::size_t i = 0; i < num_phases; ++i)
    insert_name(type, std::string(to_string(static_cast<Phase>(i))).c_str(), static_cast<std::int8_t>(i));
  insert_name(type, "missing", static_cast<std::int8_t>(missing_code));
  return type;
}

Hdf5Type copied(hid_t type) { return Hdf5Type(hdf5_check(H5Tcopy(type), "copy", "a type")); }

hsize_t product(std::span<const hsize_t> dims) {
  hsize_t n = 1;
  for (const hsize_t dim : dims) n *= dim;
  return n;
}

Hdf5Space space_of(std::span<const hsize_t> dims) {
  return Hdf5Space(
      hdf5_check(H5Screate_simple(static_cast<int>(dims.size()), dims.data(), nullptr), "make", "a space"));
}

/// Chunks of whole rows (of the first dimension), shuffle where an element has several bytes, deflate.
/// HDF5 cannot chunk an array without elements; such an array stays contiguous and takes no room.
void set_storage(hid_t layout, std::span<const hsize_t> dims, std::size_t element_bytes) {
  if (product(dims) == 0) return;
  std::vector<hsize_t> chunk(dims.begin(), dims.end());
  const hsize_t row_bytes = product(dims.subspan(1)) * element_bytes;
  chunk[0] = std::clamp<hsize_t>(chunk_bytes / row_bytes, 1, dims[0]);
  hdf5_check(H5Pset_chunk(layout, static_cast<int>(chunk.size()), chunk.data()), "set", "chunks");
  if (element_bytes > 1) hdf5_check(H5Pset_shuffle(layout), "set", "shuffle");
  hdf5_check(H5Pset_deflate(layout, deflate_level), "set", "deflate");
}

/// The groups above an object. HDF5 would make them by itself, and stamp them with the time.
void create_groups(hid_t file, std::string_view path) {
  for (auto slash = path.find('/', 1); slash != std::string_view::npos; slash = path.find('/', slash + 1)) {
    const std::string group(path.substr(0, slash));
    if (hdf5_check(H5Lexists(file, group.c_str(), H5P_DEFAULT), "look for", group) > 0) continue;
    const Hdf5Properties creation(hdf5_check(H5Pcreate(H5P_GROUP_CREATE), "prepare", "a group"));
    hdf5_check(H5Pset_obj_track_times(creation.get(), false), "prepare", "a group");
    const Hdf5Object made(hdf5_check(H5Gcreate2(file, group.c_str(), H5P_DEFAULT, creation.get(), H5P_DEFAULT), "create", group));
  }
}

Hdf5Dataset create_dataset(hid_t file, const ArraySpec& spec, hid_t type, std::span<const hsize_t> dims, hid_t layout) {
  create_groups(file, spec.path);
  const Hdf5Space space = space_of(dims);
  Hdf5Dataset dataset(hdf5_check(H5Dcreate2(file, spec.path, type, space.get(), H5P_DEFAULT, layout, H5P_DEFAULT),
                                 "create", spec.path));
  write_attribute(dataset.get(), "long_name", spec.long_name);
  write_attribute(dataset.get(), "units", spec.units);
  return dataset;
}

/// HDF5 knows no string of length zero; an empty text is one zero byte, which reads back as empty.
Hdf5Type string_type(std::size_t num_bytes) {
  Hdf5Type type = copied(H5T_C_S1);
  hdf5_check(H5Tset_size(type.get(), std::max<std::size_t>(num_bytes, 1)), "define", "a string type");
  hdf5_check(H5Tset_strpad(type.get(), H5T_STR_NULLPAD), "define", "a string type");
  hdf5_check(H5Tset_cset(type.get(), H5T_CSET_UTF8), "define", "a string type");
  return type;
}

void write_scalar(hid_t object, const char* name, hid_t in_file, hid_t in_memory, const void* value) {
  const Hdf5Space space(hdf5_check(H5Screate(H5S_SCALAR), "make", "a space"));
  const Hdf5Attribute attribute(
      hdf5_check(H5Acreate2(object, name, in_file, space.get(), H5P_DEFAULT, H5P_DEFAULT), "create attribute", name));
  hdf5_check(H5Awrite(attribute.get(), in_memory, value), "write attribute", name);
}

// Whoever made a file chose the names in it. HDF5 would follow them to any file that the user can read; of other files only
// blocks of the same folder are read.

[[noreturn]] void not_own(std::string_view path, std::string_view where) {
  throw Failure{ExitCode::unreadable_input, fmt::format("{} is not read (it stands in {}, which no result of moebius does) use the results as moebius wrote them", path, where)};
}

std::string virtual_source(hid_t creation, std::size_t idx, std::string_view path) {
  std::string name(static_cast<std::size_t>(hdf5_check(H5Pget_virtual_filename(creation, idx, nullptr, 0), "look at", path)), '\0');
  hdf5_check(H5Pget_virtual_filename(creation, idx, name.data(), name.size() + 1), "look at", path);
  return name;
}

void expect_own_data(hid_t dataset, std::string_view path) {
  const Hdf5Properties creation(hdf5_check(H5Dget_create_plist(dataset), "look at", path));
  if (hdf5_check(H5Pget_external_count(creation.get()), "look at", path) > 0) not_own(path, "a file beside HDF5");
  if (hdf5_check(H5Pget_layout(creation.get()), "look at", path) != H5D_VIRTUAL) return;
  std::size_t num_sources = 0;
  hdf5_check(H5Pget_virtual_count(creation.get(), &num_sources), "look at", path);
  for (std::size_t i = 0; i < num_sources; ++i) {
    const std::filesystem::path source = virtual_source(creation.get(), i, path);
    if (source.parent_path() != "blocks" || !parse_block_name(source.filename().native())) not_own(path, source.native());
  }
}

}  // namespace

std::size_t element_size(ElementKind kind) {
  switch (kind) {
    case ElementKind::i32:
    case ElementKind::f32: return 4;
    case ElementKind::i64:
    case ElementKind::u64:
    case ElementKind::f64: return 8;
    case ElementKind::byte:
    case ElementKind::status:
    case ElementKind::finish_reason:
    case ElementKind::truth:
    case ElementKind::phase: return 1;
  }
  return 0;
}

Hdf5Type file_type(ElementKind kind) {
  switch (kind) {
    case ElementKind::byte: return copied(H5T_STD_U8LE);
    case ElementKind::i32: return copied(H5T_STD_I32LE);
    case ElementKind::i64: return copied(H5T_STD_I64LE);
    case ElementKind::u64: return copied(H5T_STD_U64LE);
    case ElementKind::f32: return copied(H5T_IEEE_F32LE);
    case ElementKind::f64: return copied(H5T_IEEE_F64LE);
    case ElementKind::status: return status_type();
    case ElementKind::finish_reason: return finish_reason_type();
    case ElementKind::truth: return truth_type();
    case ElementKind::phase: return phase_type();
  }
  return {};
}

Hdf5Type memory_type(ElementKind kind) {
  switch (kind) {
    case ElementKind::i32: return copied(H5T_NATIVE_INT32);
    case ElementKind::i64: return copied(H5T_NATIVE_INT64);
    case ElementKind::u64: return copied(H5T_NATIVE_UINT64);
    case ElementKind::f32: return copied(H5T_NATIVE_FLOAT);
    case ElementKind::f64: return copied(H5T_NATIVE_DOUBLE);
    default: return file_type(kind);  // one byte: the same on every machine
  }
}

const void* fill_value(ElementKind kind) {
  static constexpr std::uint8_t zero = 0;
  static constexpr std::int8_t minus_one_8 = -1;  // also 255
  static constexpr std::int32_t minus_one_32 = -1;
  static constexpr std::int64_t minus_one_64 = -1;  // also all bits set
  static constexpr float nan_32 = std::numeric_limits<float>::quiet_NaN();
  static constexpr double nan_64 = std::numeric_limits<double>::quiet_NaN();
  switch (kind) {
    case ElementKind::byte: return &zero;
    case ElementKind::i32: return &minus_one_32;
    case ElementKind::i64:
    case ElementKind::u64: return &minus_one_64;
    case ElementKind::f32: return &nan_32;
    case ElementKind::f64: return &nan_64;
    case ElementKind::status:
    case ElementKind::finish_reason:
    case ElementKind::truth:
    case ElementKind::phase: return &minus_one_8;
  }
  return nullptr;
}

Hdf5Properties new_array_layout(ElementKind kind) {
  Hdf5Properties layout(hdf5_check(H5Pcreate(H5P_DATASET_CREATE), "prepare", "a dataset"));
  hdf5_check(H5Pset_obj_track_times(layout.get(), false), "prepare", "a dataset");
  hdf5_check(H5Pset_fill_value(layout.get(), memory_type(kind).get(), fill_value(kind)), "prepare", "a dataset");
  return layout;
}

void write_array(hid_t file, const ArraySpec& spec, std::span<const hsize_t> dims, const void* data) {
  const Hdf5Properties layout = new_array_layout(spec.kind);
  set_storage(layout.get(), dims, element_size(spec.kind));
  const Hdf5Dataset dataset = create_dataset(file, spec, file_type(spec.kind).get(), dims, layout.get());
  if (product(dims) == 0) return;
  hdf5_check(H5Dwrite(dataset.get(), memory_type(spec.kind).get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, data), "write",
             spec.path);
}

void write_strings(hid_t file, const ArraySpec& spec, std::span<const std::string> values) {
  std::size_t width = 1;
  for (const std::string& value : values) width = std::max(width, value.size());
  std::string padded(width * values.size(), '\0');  // [values, width]
  for (std::size_t i = 0; i < values.size(); ++i) std::memcpy(&padded[i * width], values[i].data(), values[i].size());
  const Hdf5Type type = string_type(width);
  const hsize_t dims[] = {values.size()};
  const Hdf5Properties layout(hdf5_check(H5Pcreate(H5P_DATASET_CREATE), "prepare", "a dataset"));
  hdf5_check(H5Pset_obj_track_times(layout.get(), false), "prepare", "a dataset");
  set_storage(layout.get(), dims, width);
  const Hdf5Dataset dataset = create_dataset(file, spec, type.get(), dims, layout.get());
  if (values.empty()) return;
  hdf5_check(H5Dwrite(dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()), "write", spec.path);
}

void write_virtual_array(hid_t file, const ArraySpec& spec, std::span<const hsize_t> dims, hid_t layout) {
  create_dataset(file, spec, file_type(spec.kind).get(), dims, layout);
}

void write_attribute(hid_t object, const char* name, std::string_view text) {
  const Hdf5Type type = string_type(text.size());
  write_scalar(object, name, type.get(), type.get(), text.empty() ? "" : text.data());
}

void write_attribute(hid_t object, const char* name, std::int64_t value) {
  write_scalar(object, name, H5T_STD_I64LE, H5T_NATIVE_INT64, &value);
}

void write_attribute(hid_t object, const char* name, std::uint64_t value) {
  write_scalar(object, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, &value);
}

bool has_array(hid_t file, std::string_view path) {
  for (auto slash = path.find('/', 1); ; slash = path.find('/', slash + 1)) {  // HDF5 wants every group on the way to be there
    const std::string part(path.substr(0, slash));
    if (hdf5_check(H5Lexists(file, part.c_str(), H5P_DEFAULT), "look for", part) == 0) return false;
    H5L_info_t link;
    hdf5_check(H5Lget_info(file, part.c_str(), &link, H5P_DEFAULT), "look for", part);
    if (link.type != H5L_TYPE_HARD) not_own(part, "another place or file");
    if (slash == std::string_view::npos) return true;
  }
}

OpenArray open_array(hid_t file, const char* path) {
  OpenArray array;
  std::ignore = has_array(file, path);  // looks at the links on the way; that it is not there HDF5 says best
  array.dataset = Hdf5Dataset(hdf5_check(H5Dopen2(file, path, H5P_DEFAULT), "open", path));
  expect_own_data(array.dataset.get(), path);
  const Hdf5Space space(hdf5_check(H5Dget_space(array.dataset.get()), "look at", path));
  array.dims.resize(static_cast<std::size_t>(hdf5_check(H5Sget_simple_extent_ndims(space.get()), "look at", path)));
  hdf5_check(H5Sget_simple_extent_dims(space.get(), array.dims.data(), nullptr), "look at", path);
  return array;
}

void read_array(const OpenArray& array, const ArraySpec& spec, hsize_t first, hsize_t count, void* out) {
  MOEBIUS_EXPECT(!array.dims.empty() && first <= array.dims[0] && count <= array.dims[0] - first);
  std::vector<hsize_t> start(array.dims.size(), 0), size = array.dims;
  start[0] = first;
  size[0] = count;
  if (product(size) == 0) return;
  const Hdf5Space in_memory = space_of(size);
  const Hdf5Space in_file = space_of(array.dims);
  hdf5_check(H5Sselect_hyperslab(in_file.get(), H5S_SELECT_SET, start.data(), nullptr, size.data(), nullptr), "select",
             spec.path);
  hdf5_check(
      H5Dread(array.dataset.get(), memory_type(spec.kind).get(), in_memory.get(), in_file.get(), H5P_DEFAULT, out),
      "read", spec.path);
}

}  // namespace moebius::io
