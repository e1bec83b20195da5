// SPDX-License-Identifier: Apache-2.0
#pragma once
// Writes a checkpoint in the published layout, streaming: model.safetensors, or shards with
// model.safetensors.index.json where it is larger than a shard may be. Whoever makes a model calls this.

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/tensor.hpp"

namespace moebius::io {

struct NewTensor {
  std::string name;
  DType dtype = DType::f32;
  std::vector<std::int64_t> shape;

  [[nodiscard]] std::int64_t num_bytes() const;
};

/// Fills `out` with the stored elements first_element, first_element + 1, ... of a tensor; called in order.
using TensorSource = std::function<void(std::size_t tensor_idx, std::int64_t first_element, std::span<std::byte> out)>;

/// A shard takes tensors until the next would make it larger than this; a larger tensor gets a shard alone.
inline constexpr std::int64_t default_shard_bytes = 5'000'000'000;

/// Writes into an existing folder, replacing files of the same names. Returns the bytes of all tensors.
/// Throws Failure: `does_not_fit` for a full disk, `unreadable_input` for everything else.
std::int64_t write_checkpoint(const std::filesystem::path& directory, std::span<const NewTensor> tensors,
                              const TensorSource& source, std::int64_t max_shard_bytes = default_shard_bytes);

}  // namespace moebius::io
