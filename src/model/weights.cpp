// SPDX-License-Identifier: Apache-2.0
#include "model/weights.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cstring>

#include "base/bf16.hpp"
#include "base/check.hpp"
#include "base/f16.hpp"
#include "base/failure.hpp"
#include "kernels/activations.hpp"

namespace moebius::model {
namespace {

static_assert(WeightArena::alignment % kernels::packed_alignment == 0);

template <class Stored, class ToFloat>
void widen_as(const std::byte* src, std::span<float> dst, ToFloat to_single) {
  for (std::size_t i = 0; i < dst.size(); ++i) {
    Stored stored;
    std::memcpy(&stored, src + i * sizeof(Stored), sizeof(Stored));  // tensors may be unaligned
    dst[i] = to_single(stored);
  }
}

std::size_t num_elements(const TensorRef& tensor) {
  std::size_t num = 1;
  for (const std::int64_t extent : tensor.shape) num *= static_cast<std::size_t>(extent);
  return num;
}

}  // namespace

void widen(const TensorRef& tensor, std::size_t first, std::span<float> dst) {
  const std::size_t size = dtype_bytes(tensor.dtype);
  MOEBIUS_EXPECT(size > 0 && (first + dst.size()) * size <= tensor.bytes.size());
  const std::byte* src = tensor.bytes.data() + first * size;
  switch (tensor.dtype) {
    case DType::f32: return widen_as<float>(src, dst, [](float x) { return x; });
    case DType::bf16: return widen_as<std::uint16_t>(src, dst, [](std::uint16_t x) { return to_float(Bf16{x}); });
    case DType::f16: return widen_as<std::uint16_t>(src, dst, [](std::uint16_t x) { return to_float(F16{x}); });
    default: MOEBIUS_EXPECT(tensor.dtype == DType::f32);  // WeightReader lets no other type through
  }
}

std::string layer_prefix(LayerId layer) { return fmt::format("model.layers.{}.", layer.value); }

TensorRef WeightReader::checked(const std::string& name, std::initializer_list<std::int64_t> shape) const {
  std::optional<TensorRef> tensor = tensors_(name);
  if (!tensor) {
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("tensor {} is not in the checkpoint (config.json describes a model that has it) use the weights "
                              "and the config.json of the same model",
                              name)};
  }
  if (!std::equal(tensor->shape.begin(), tensor->shape.end(), shape.begin(), shape.end())) {
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("{}: tensor {} has the shape [{}] (config.json asks for [{}]) use the weights and the config.json "
                              "of the same model",
                              tensor->file, name, fmt::join(tensor->shape, ", "), fmt::join(shape, ", "))};
  }
  if (tensor->dtype != DType::f32 && tensor->dtype != DType::f16 && tensor->dtype != DType::bf16) {
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("{}: tensor {} is not of a floating-point type that can be read (F32, F16 and BF16 can; quantised "
                              "weights cannot) use a checkpoint in one of these types",
                              tensor->file, name)};
  }
  if (tensor->bytes.size() != num_elements(*tensor) * dtype_bytes(tensor->dtype)) {
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("{}: tensor {} has {} bytes (its shape and type make {}) fetch the file again", tensor->file, name,
                              tensor->bytes.size(), num_elements(*tensor) * dtype_bytes(tensor->dtype))};
  }
  return *std::move(tensor);
}

void WeightReader::append(const TensorRef& tensor) {
  const std::size_t old_size = scratch_.size();
  scratch_.resize(old_size + num_elements(tensor));
  widen(tensor, 0, std::span(scratch_).subspan(old_size));
}

std::vector<float> WeightReader::vector(const std::string& name, int size) {
  std::vector<float> values(static_cast<std::size_t>(size));
  widen(checked(name, {size}), 0, values);
  return values;
}

kernels::PackedMatrix WeightReader::pack(ComputeType type, int num_out, int num_in) {
  return kernels::PackedMatrix::pack(type, scratch_, num_out, num_in, arena_.take(kernels::packed_bytes(type, num_out, num_in)));
}

kernels::PackedMatrix WeightReader::matrix(const std::string& name, int num_out, int num_in) {
  return matrix(name, num_out, num_in, compute_);
}

kernels::PackedMatrix WeightReader::matrix(const std::string& name, int num_out, int num_in, ComputeType type) {
  scratch_.clear();
  append(checked(name, {num_out, num_in}));
  return pack(type, num_out, num_in);
}

kernels::PackedMatrix WeightReader::stacked(std::initializer_list<Part> parts, int num_in) {
  scratch_.clear();
  int num_out = 0;
  for (const Part& part : parts) {
    append(checked(part.name, {part.num_out, num_in}));
    num_out += part.num_out;
  }
  return pack(compute_, num_out, num_in);
}

kernels::ExpertFfn WeightReader::ffn(const std::string& prefix, int width, int hidden) {
  return {.gate = matrix(prefix + "gate_proj.weight", width, hidden),
          .up = matrix(prefix + "up_proj.weight", width, hidden),
          .down = matrix(prefix + "down_proj.weight", hidden, width)};
}

std::vector<std::byte> WeightReader::rows(const std::string& name, int num_rows, int row_size) {
  const TensorRef tensor = checked(name, {num_rows, row_size});
  const auto row_elements = static_cast<std::size_t>(row_size), row_bytes = row_elements * element_bytes(compute_);
  std::vector<std::byte> result(static_cast<std::size_t>(num_rows) * row_bytes);
  scratch_.resize(row_elements);
  for (std::size_t row = 0; row < static_cast<std::size_t>(num_rows); ++row) {  // an embedding is large: one row at a time
    widen(tensor, row * row_elements, scratch_);
    kernels::convert_rows(compute_, scratch_, result.data() + row * row_bytes);
  }
  return result;
}

std::size_t ffn_bytes(ComputeType type, int width, int hidden) {
  return 2 * kernels::packed_bytes(type, width, hidden) + kernels::packed_bytes(type, hidden, width);
}

}  // namespace moebius::model
