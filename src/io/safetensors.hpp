// SPDX-License-Identifier: Apache-2.0
#pragma once
// The weights of a checkpoint: safetensors files, read where a tensor is asked for. Any rank may open one; only
// headers are read then.
//
// Every offset is checked when the checkpoint is opened, so a TensorRef never points outside its file.
// A TensorRef and the result of lookup() are good as long as the Checkpoint lives (also after it was
// moved). A file that another program cuts short afterwards is a Failure of the read that misses bytes.

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/tensor.hpp"

namespace moebius::io {

/// What was read of tensors so far; headers and fingerprints are not counted.
struct ReadCounters {
  std::int64_t bytes = 0, calls = 0;
};

class Checkpoint {
 public:
  /// model.safetensors, or else the shards of model.safetensors.index.json. Throws
  /// Failure{unreadable_input} naming the file and the tensor.
  static Checkpoint open(const std::filesystem::path& model_dir);
  /// One file, whatever its name.
  static Checkpoint open_file(const std::filesystem::path& file);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  [[nodiscard]] std::optional<TensorRef> find(std::string_view name) const;
  /// Ascending.
  [[nodiscard]] std::vector<std::string> names() const;
  [[nodiscard]] TensorLookup lookup() const;

  /// Hash of all headers, file sizes and a sample of the data (64 places of each file), in the order of
  /// the file names; does not depend on where the checkpoint lies.
  [[nodiscard]] std::uint64_t fingerprint() const;
  [[nodiscard]] ReadCounters counters() const;
  /// Bytes of all tensors together.
  [[nodiscard]] std::int64_t total_bytes() const;

 private:
  struct Files;
  explicit Checkpoint(std::unique_ptr<Files> files);
  std::unique_ptr<Files> files_;  // on the heap: lookups keep working when the Checkpoint is moved
};

}  // namespace moebius::io
