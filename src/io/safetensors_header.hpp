// SPDX-License-Identifier: Apache-2.0
#pragma once
// The header of a safetensors file: 8 bytes little-endian length, JSON, then the data. Pure functions
// of the file's bytes, for safetensors.cpp and its tests.
//
// What is checked, so that nobody has to check again: every tensor lies inside the file, its size is
// its shape times its element size, and the tensors tile the data section without hole or overlap.

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor.hpp"

namespace moebius::io {

inline constexpr std::size_t length_field_bytes = 8;

struct HeaderTensor {
  std::string name;
  DType dtype = DType::other;
  std::vector<std::int64_t> shape;
  std::int64_t begin = 0, end = 0;  ///< offsets from the start of the file
};

struct SafetensorsHeader {
  std::vector<HeaderTensor> tensors;  ///< ascending offsets
  std::int64_t num_bytes = 0;         ///< of the length field and the JSON
};

/// The length of the JSON from the first 8 bytes of a file of file_bytes. Throws Failure{unreadable_input} where
/// the file cannot hold it.
std::int64_t parse_header_length(std::span<const std::byte> bytes, std::int64_t file_bytes, const std::string& file);

/// `bytes` begins with the length field and the JSON of a file of file_bytes; more is not looked at. Throws
/// Failure{unreadable_input} that names `file` and the tensor.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> bytes, std::int64_t file_bytes, const std::string& file);
/// The same where `bytes` is the whole file.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> bytes, const std::string& file);

/// "F32", "BF16", ... of a type that has one spelling; a contract otherwise.
std::string_view safetensors_name(DType dtype);

}  // namespace moebius::io
