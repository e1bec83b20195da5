// SPDX-License-Identifier: Apache-2.0
#include "model/weights.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "kernels/activations.hpp"

namespace moebius::model {
namespace {

static_assert(WeightArena::alignment % kernels::packed_alignment == 0);

/// A matrix whose rows are read in order is divided among sharers where it is larger than this.
constexpr std::size_t work_bytes = std::size_t{64} << 20;

std::size_t num_elements(std::span<const std::int64_t> shape) {
  std::size_t num = 1;
  for (const std::int64_t extent : shape) num *= static_cast<std::size_t>(extent);
  return num;
}

std::vector<float> read_floats(const TensorRef& tensor) {
  std::vector<float> floats(num_elements(tensor.shape));
  widen(tensor.dtype, read_bytes(tensor), floats);
  return floats;
}

/// Rows first, ..., first + n - 1 of matrices that lie one below the other; rows from end_of_share on are another
/// reader's.
template <class Source>
void read_rows(std::span<Source> sources, int first, int num_rows, int end_of_share, int num_in, std::span<float> dst) {
  const auto row_size = static_cast<std::size_t>(num_in);
  int row = first, done = 0, below = 0;  // `below` rows lie above the source in hand
  for (Source& source : sources) {
    const int take = std::min(num_rows - done, below + source.num_rows() - row);
    for (int i = 0; i < take;) {
      const int at = row - below + i;
      const int run = source.picked.empty() ? take : 1;
      const auto out = dst.subspan(static_cast<std::size_t>(done + i) * row_size, static_cast<std::size_t>(run) * row_size);
      if (source.picked.empty()) {
        source.rows.read(at, out, end_of_share - below);
      } else {
        source.rows.read(source.picked[static_cast<std::size_t>(at)], out);
      }
      i += run;
    }
    below += source.num_rows();
    done += std::max(take, 0);
    row += std::max(take, 0);
  }
  MOEBIUS_ENSURE(done == num_rows);
}

}  // namespace

WeightReader::WeightReader(const TensorLookup& tensors, ComputeType compute, WeightArena& arena, LoadShare share)
    : tensors_(&tensors), compute_(compute), arena_(arena), share_(share) {
  MOEBIUS_EXPECT(!arena.only_counts() && share.num_sharers > 0 && share.idx >= 0 && share.idx < share.num_sharers);
}

WeightReader::WeightReader(ComputeType compute, WeightArena& counting) : tensors_(nullptr), compute_(compute), arena_(counting) {
  MOEBIUS_EXPECT(counting.only_counts());
}

TensorRef WeightReader::checked(const std::string& name, std::span<const std::int64_t> shape, Fp8 fp8) const {
  std::optional<TensorRef> tensor = (*tensors_)(name);
  if (!tensor) {
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("tensor {} is not in the checkpoint (config.json describes a model that has it) use the weights "
                              "and the config.json of the same model",
                              name)};
  }
  if (!std::ranges::equal(tensor->shape, shape)) {
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("{}: tensor {} has the shape [{}] (config.json asks for [{}]) use the weights and the config.json "
                              "of the same model",
                              tensor->file, name, fmt::join(tensor->shape, ", "), fmt::join(shape, ", "))};
  }
  const bool plain = tensor->dtype == DType::f32 || tensor->dtype == DType::f16 || tensor->dtype == DType::bf16;
  if (!plain && !(tensor->dtype == DType::f8_e4m3 && fp8 == Fp8::allowed)) {
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("{}: tensor {} is not of a floating-point type that can be read (F32, F16 and BF16 can, and F8_E4M3 "
                              "for matrices) use a checkpoint in one of these types",
                              tensor->file, name)};
  }
  if (const std::size_t wanted = num_elements(shape) * dtype_bytes(tensor->dtype); tensor->num_bytes != wanted) {
    throw Failure{ExitCode::unreadable_input,
                  fmt::format("{}: tensor {} has {} bytes (its shape and type make {}) fetch the file again", tensor->file, name,
                              tensor->num_bytes, wanted)};
  }
  return *std::move(tensor);
}

WeightReader::Source WeightReader::source(const Part& part, int num_in) const {
  const std::array<std::int64_t, 2> shape{part.num_rows, num_in};
  TensorRef tensor = checked(part.name, shape, Fp8::allowed);
  std::optional<TensorRef> scales;
  if (tensor.dtype == DType::f8_e4m3) {
    constexpr int block = scale_block;
    const std::array<std::int64_t, 2> blocks{(part.num_rows + block - 1) / block, (num_in + block - 1) / block};
    scales = checked(part.name + "_scale_inv", blocks, Fp8::refused);
  }
  return {.rows = {std::move(tensor), part.num_rows, num_in}, .scales = std::move(scales), .picked = part.rows};
}

void WeightReader::pack_range(ComputeType type, std::span<Source> sources, int num_in, int first, int end, int num_out,
                              std::span<std::byte> memory) {
  for (int row = first; row < end; row += kernels::pack_group_rows) {
    const int num_rows = std::min(kernels::pack_group_rows, end - row);
    scratch_.resize(static_cast<std::size_t>(num_rows) * static_cast<std::size_t>(num_in));
    read_rows(sources, row, num_rows, end, num_in, scratch_);
    kernels::pack_rows(type, num_out, num_in, row, scratch_, memory);
  }
}

kernels::PackedMatrix WeightReader::pack(ComputeType type, std::span<const Part> parts, int num_in) {
  int num_out = 0;
  for (const Part& part : parts) num_out += part.rows.empty() ? part.num_rows : static_cast<int>(part.rows.size());
  const std::span<std::byte> memory = arena_.take(kernels::packed_bytes(type, num_out, num_in));
  const kernels::PackedMatrix matrix(type, num_out, num_in, memory);
  if (tensors_ == nullptr) return matrix;

  std::vector<Source> sources;
  for (const Part& part : parts) sources.push_back(source(part, num_in));
  const bool divisible = std::ranges::all_of(sources, [](const Source& s) { return s.picked.empty() && !s.scales; });
  const auto rows_of_work = static_cast<int>(std::min<std::size_t>(work_bytes / sources.front().rows.row_bytes(), 1U << 30));
  const int step = divisible ? std::max(rows_of_work / kernels::pack_group_rows, 1) * kernels::pack_group_rows : num_out;
  for (int first = 0; first < num_out; first += step) {
    if (!mine()) continue;
    for (Source& source : sources) {
      if (!source.picked.empty()) source.rows.keep_all();
      if (source.scales) source.rows.scale_by(read_floats(*source.scales));
    }
    pack_range(type, sources, num_in, first, std::min(num_out, first + step), num_out, memory);
  }
  return matrix;
}

std::span<const float> WeightReader::computed_vector(int size, const std::function<std::vector<float>()>& make) {
  const std::size_t bytes = static_cast<std::size_t>(size) * sizeof(float);
  const std::span<std::byte> memory = arena_.take(bytes);
  if (tensors_ != nullptr && mine()) {
    const std::vector<float> made = make();
    MOEBIUS_EXPECT(made.size() * sizeof(float) == bytes);
    std::memcpy(memory.data(), made.data(), bytes);
  }
  return {reinterpret_cast<const float*>(memory.data()), static_cast<std::size_t>(size)};
}

std::span<const float> WeightReader::vector(const std::string& name, int size) {
  const std::array<std::int64_t, 1> shape{size};
  if (tensors_ != nullptr) (void)checked(name, shape, Fp8::refused);
  return computed_vector(size, [&] { return values(name, {size}); });
}

kernels::PackedMatrix WeightReader::matrix(const std::string& name, int num_out, int num_in) {
  return matrix(name, num_out, num_in, compute_);
}

kernels::PackedMatrix WeightReader::matrix(const std::string& name, int num_out, int num_in, ComputeType type) {
  const Part part{.name = name, .num_rows = num_out};
  return pack(type, {&part, 1}, num_in);
}

kernels::PackedMatrix WeightReader::stacked(std::initializer_list<Part> parts, int num_in) {
  return pack(compute_, parts, num_in);
}

kernels::PackedMatrix WeightReader::computed(ComputeType type, int num_out, int num_in,
                                             const std::function<std::vector<float>()>& make) {
  const std::span<std::byte> memory = arena_.take(kernels::packed_bytes(type, num_out, num_in));
  if (tensors_ != nullptr && mine()) return kernels::PackedMatrix::pack(type, make(), num_out, num_in, memory);
  return {type, num_out, num_in, memory};
}

bool WeightReader::mine() {
  if (group_is_mine_) return *group_is_mine_;
  return next_work_++ % share_.num_sharers == share_.idx;
}

void WeightReader::as_one(const std::function<void()>& load) {
  MOEBIUS_EXPECT(!group_is_mine_);
  group_is_mine_ = mine();
  load();
  group_is_mine_.reset();
}

std::span<const std::byte> WeightReader::rows(const std::string& name, int num_rows, int row_size) {
  const auto row_elements = static_cast<std::size_t>(row_size), row_bytes = row_elements * element_bytes(compute_);
  const std::span<std::byte> memory = arena_.take(static_cast<std::size_t>(num_rows) * row_bytes);
  if (tensors_ == nullptr) return memory;
  const std::array<std::int64_t, 2> shape{num_rows, row_size};
  TensorRows rows(checked(name, shape, Fp8::refused), num_rows, row_size);
  const auto step = static_cast<int>(std::clamp<std::size_t>(work_bytes / rows.row_bytes(), 1, 1U << 30));
  scratch_.resize(row_elements);
  for (int first = 0; first < num_rows; first += step) {
    if (!mine()) continue;
    const int end = std::min(num_rows, first + step);
    for (int row = first; row < end; ++row) {
      rows.read(row, scratch_, end);
      kernels::convert_rows(compute_, scratch_, memory.data() + static_cast<std::size_t>(row) * row_bytes);
    }
  }
  return memory;
}

std::vector<float> WeightReader::values(const std::string& name, std::vector<std::int64_t> shape) {
  MOEBIUS_EXPECT(tensors_ != nullptr && (shape.size() == 1 || shape.size() == 2));
  if (shape.size() == 1) return read_floats(checked(name, shape, Fp8::refused));
  Source whole = source({.name = name, .num_rows = static_cast<int>(shape[0])}, static_cast<int>(shape[1]));
  if (whole.scales) whole.rows.scale_by(read_floats(*whole.scales));
  std::vector<float> floats(num_elements(shape));
  whole.rows.read(0, floats);
  return floats;
}

}  // namespace moebius::model
