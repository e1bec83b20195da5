// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_header.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <limits>
#include <stdexcept>
#include <tuple>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "io/strict_json.hpp"

namespace moebius::io {
namespace {

// The limit of the format's own reader: a longer header is taken for an attack or a broken length.
constexpr std::int64_t max_header_bytes = 100'000'000;

struct DTypeName {
  std::string_view name;
  DType dtype;
  std::int64_t element_bytes;
};
constexpr std::array dtype_names{
    DTypeName{"F32", DType::f32, 4},       DTypeName{"BF16", DType::bf16, 2}, DTypeName{"F16", DType::f16, 2},
    DTypeName{"I32", DType::i32, 4},       DTypeName{"I64", DType::i64, 8},   DTypeName{"U8", DType::u8, 1},
    DTypeName{"BOOL", DType::other, 1},    DTypeName{"I8", DType::other, 1},  DTypeName{"F8_E5M2", DType::other, 1},
    DTypeName{"F8_E4M3", DType::f8_e4m3, 1}, DTypeName{"I16", DType::other, 2}, DTypeName{"U16", DType::other, 2},
    DTypeName{"U32", DType::other, 4},     DTypeName{"F64", DType::other, 8}, DTypeName{"U64", DType::other, 8},
};

[[noreturn]] void refuse(const std::string& file, const std::string& problem) {
  throw Failure{ExitCode::unreadable_input,
                fmt::format("{} is not a whole safetensors file ({}) download or copy it again", file, problem)};
}

std::int64_t non_negative(const Json& value, const std::string& what) {
  constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > most) {
    throw std::invalid_argument(fmt::format("{} is {} and not a count", what, json_excerpt(value)));
  }
  return value.get<std::int64_t>();
}

/// One entry of the header; offsets become offsets into the file. Throws std::invalid_argument with
/// the problem, to which the caller adds file and name.
HeaderTensor parse_tensor(const std::string& name, const Json& entry, std::int64_t data_begin,
                          std::int64_t data_bytes) {
  const auto field = [&](const char* key, Json::value_t type) -> const Json& {
    const auto found = entry.is_object() ? entry.find(key) : entry.end();
    if (!entry.is_object() || found == entry.end() || found->type() != type) {
      throw std::invalid_argument(fmt::format("its \"{}\" is missing or mistyped", key));
    }
    return *found;
  };
  HeaderTensor tensor;
  tensor.name = name;
  const auto& dtype = field("dtype", Json::value_t::string).get_ref<const std::string&>();
  const auto known = std::ranges::find(dtype_names, dtype, &DTypeName::name);
  if (known == dtype_names.end()) {
    throw std::invalid_argument(fmt::format("unknown dtype {}", json_excerpt(Json(dtype))));
  }
  tensor.dtype = known->dtype;
  std::int64_t num_bytes = known->element_bytes;
  bool overflow = false;
  for (const auto& size : field("shape", Json::value_t::array)) {
    tensor.shape.push_back(non_negative(size, "a size of its shape"));
    overflow |= __builtin_mul_overflow(num_bytes, tensor.shape.back(), &num_bytes);
  }
  if (overflow) throw std::invalid_argument("its shape is larger than any file");
  const auto& offsets = field("data_offsets", Json::value_t::array);
  if (offsets.size() != 2) throw std::invalid_argument("its data_offsets are not two numbers");
  const auto begin = non_negative(offsets[0], "its first offset"), end = non_negative(offsets[1], "its last offset");
  if (begin > end || end > data_bytes) {
    throw std::invalid_argument(fmt::format("it claims bytes {} to {} of {} bytes of data", begin, end, data_bytes));
  }
  if (end - begin != num_bytes) {
    throw std::invalid_argument(fmt::format("it has {} bytes, its shape and dtype need {}", end - begin, num_bytes));
  }
  tensor.begin = data_begin + begin;
  tensor.end = data_begin + end;
  return tensor;
}

/// Tensors must tile the data section: a hole or an overlap means that the header belongs to another file.
void check_tiling(const std::vector<HeaderTensor>& tensors, std::int64_t data_begin, std::int64_t file_bytes,
                  const std::string& file) {
  std::int64_t expected = data_begin;
  for (const auto& tensor : tensors) {
    if (tensor.begin != expected) {
      refuse(file, fmt::format("tensor {}: it begins at data byte {} where {} was expected",
                               json_excerpt(Json(tensor.name), 200), tensor.begin - data_begin, expected - data_begin));
    }
    expected = tensor.end;
  }
  if (expected != file_bytes) {
    refuse(file, fmt::format("its tensors end at byte {}, the file has {}", expected, file_bytes));
  }
}

}  // namespace

std::string_view safetensors_name(DType dtype) {
  const auto known = std::ranges::find(dtype_names, dtype, &DTypeName::dtype);
  MOEBIUS_EXPECT(dtype != DType::other && known != dtype_names.end());
  return known->name;
}

std::int64_t parse_header_length(std::span<const std::byte> bytes, std::int64_t file_bytes, const std::string& file) {
  if (bytes.size() < length_field_bytes || file_bytes < static_cast<std::int64_t>(length_field_bytes)) {
    refuse(file, fmt::format("it has {} bytes", file_bytes));
  }
  std::uint64_t length = 0;
  for (std::size_t idx = length_field_bytes; idx-- > 0;) length = (length << 8) | std::to_integer<std::uint64_t>(bytes[idx]);
  if (length > static_cast<std::uint64_t>(max_header_bytes)) refuse(file, fmt::format("its header claims {} bytes", length));
  const auto bytes_after = file_bytes - static_cast<std::int64_t>(length_field_bytes);
  if (static_cast<std::int64_t>(length) > bytes_after) {
    refuse(file, fmt::format("its header claims {} bytes, the file has {}", length, file_bytes));
  }
  return static_cast<std::int64_t>(length);
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> bytes, const std::string& file) {
  return parse_safetensors_header(bytes, static_cast<std::int64_t>(bytes.size()), file);
}

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> bytes, std::int64_t file_bytes, const std::string& file) {
  const auto length = static_cast<std::size_t>(parse_header_length(bytes, file_bytes, file));
  MOEBIUS_EXPECT(length <= bytes.size() - length_field_bytes);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + length_field_bytes, length);
  auto parsed = parse_json(text);
  if (const auto* problem = std::get_if<JsonProblem>(&parsed)) {
    refuse(file, fmt::format("its header is not JSON: {}", problem->message));
  }
  const auto& root = std::get<Json>(parsed);
  if (!root.is_object()) refuse(file, fmt::format("its header is {} and not an object", json_type_name(root)));

  SafetensorsHeader header;
  header.num_bytes = static_cast<std::int64_t>(length_field_bytes + length);
  for (const auto& [name, entry] : root.items()) {
    if (name == "__metadata__") continue;  // free text of the program that wrote the file
    try {
      header.tensors.push_back(parse_tensor(name, entry, header.num_bytes, file_bytes - header.num_bytes));
    } catch (const std::invalid_argument& problem) {
      refuse(file, fmt::format("tensor {}: {}", json_excerpt(Json(name), 200), problem.what()));
    }
  }
  std::ranges::sort(header.tensors, [](const HeaderTensor& a, const HeaderTensor& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  check_tiling(header.tensors, header.num_bytes, file_bytes, file);
  return header;
}

}  // namespace moebius::io
