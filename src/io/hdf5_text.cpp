// SPDX-License-Identifier: Apache-2.0
// The reading half of strings and attributes (hdf5_data.hpp).
#include <algorithm>
#include <utility>

#include "base/failure.hpp"
#include "io/hdf5_data.hpp"

namespace moebius::io {
namespace {

/// Up to the first zero byte: what zero-padding means.
std::string unpadded(const char* text, std::size_t width) { return {text, std::find(text, text + width, '\0')}; }

std::string attribute_text(hid_t object, const char* name) {
  const Hdf5Attribute attribute(hdf5_check(H5Aopen(object, name, H5P_DEFAULT), "open attribute", name));
  const Hdf5Type type(hdf5_check(H5Aget_type(attribute.get()), "look at attribute", name));
  const Hdf5Space space(hdf5_check(H5Aget_space(attribute.get()), "look at attribute", name));
  if (H5Sget_simple_extent_npoints(space.get()) != 1) return {};
  const H5T_class_t kind = H5Tget_class(type.get());
  if (kind == H5T_STRING && hdf5_check(H5Tis_variable_str(type.get()), "look at attribute", name) == 0) {
    std::string padded(H5Tget_size(type.get()), '\0');
    hdf5_check(H5Aread(attribute.get(), type.get(), padded.data()), "read attribute", name);
    return unpadded(padded.data(), padded.size());
  }
  if (kind != H5T_INTEGER) return {};
  if (H5Tget_sign(type.get()) == H5T_SGN_NONE) {
    std::uint64_t value = 0;
    hdf5_check(H5Aread(attribute.get(), H5T_NATIVE_UINT64, &value), "read attribute", name);
    return std::to_string(value);
  }
  std::int64_t value = 0;
  hdf5_check(H5Aread(attribute.get(), H5T_NATIVE_INT64, &value), "read attribute", name);
  return std::to_string(value);
}

herr_t note_name(hid_t /*object*/, const char* name, const H5A_info_t* /*info*/, void* names) {
  static_cast<std::vector<std::string>*>(names)->emplace_back(name);
  return 0;
}

}  // namespace

std::vector<std::string> read_strings(hid_t file, const char* path) {
  const OpenArray array = open_array(file, path);
  const Hdf5Type type(hdf5_check(H5Dget_type(array.dataset.get()), "look at", path));
  if (array.dims.size() != 1 || H5Tget_class(type.get()) != H5T_STRING || H5Tis_variable_str(type.get()) != 0)
    throw Failure{ExitCode::unreadable_input, std::string("cannot read ") + path +
                                                  " (it is not a list of fixed-length strings) check that the file "
                                                  "was written by moebius"};
  const std::size_t width = H5Tget_size(type.get());
  const std::size_t num_values = array.dims[0];
  std::string padded(width * num_values, '\0');  // [values, width]
  if (num_values > 0)
    hdf5_check(H5Dread(array.dataset.get(), type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, padded.data()), "read", path);
  std::vector<std::string> values;
  for (std::size_t i = 0; i < num_values; ++i) values.push_back(unpadded(&padded[i * width], width));
  return values;
}

std::vector<std::pair<std::string, std::string>> read_attributes(hid_t object) {
  std::vector<std::string> names;
  hsize_t position = 0;
  hdf5_check(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, &position, note_name, &names), "list", "attributes");
  std::vector<std::pair<std::string, std::string>> attributes;
  for (const std::string& name : names) attributes.emplace_back(name, attribute_text(object, name.c_str()));
  return attributes;
}

}  // namespace moebius::io
