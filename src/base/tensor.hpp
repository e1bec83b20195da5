// SPDX-License-Identifier: Apache-2.0
#pragma once
// A named array of a checkpoint: what it is, and a way to read it. `io` finds tensors in safetensors files,
// `model` packs them; neither includes the other, this struct is what passes between them.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace moebius {

enum class DType : std::uint8_t { f32, f16, bf16, f8_e4m3, i32, i64, u8, other };
/// Bytes of one element; 0 for `other`.
std::size_t dtype_bytes(DType dtype);

/// Row-major array inside a checkpoint.
struct TensorRef {
  DType dtype = DType::other;
  std::vector<std::int64_t> shape;
  std::size_t num_bytes = 0;
  /// Fills `out` with the bytes from `first_byte` on, which are inside. Throws Failure{unreadable_input} that
  /// names file and tensor, also where the file has become shorter since it was opened.
  std::function<void(std::size_t first_byte, std::span<std::byte> out)> read;
  std::string file;  ///< for messages
};

/// All bytes of a tensor, for tensors that are small, and for tests.
std::vector<std::byte> read_bytes(const TensorRef& tensor);

/// Finds a tensor by its published name; nothing where the checkpoint has none of that name.
using TensorLookup = std::function<std::optional<TensorRef>(std::string_view name)>;

}  // namespace moebius
