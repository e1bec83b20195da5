// SPDX-License-Identifier: Apache-2.0
#pragma once
// A named array of a checkpoint, as bytes that somebody else owns. `io` finds tensors in safetensors
// files, `model` packs them; neither includes the other, this struct is what passes between them.

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

/// Row-major array inside a checkpoint. The bytes may be unaligned: copy, do not cast.
struct TensorRef {
  DType dtype = DType::other;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;
  std::string file;  ///< for messages
};

/// Finds a tensor by its published name; nothing where the checkpoint has none of that name.
using TensorLookup = std::function<std::optional<TensorRef>(std::string_view name)>;

}  // namespace moebius
