// SPDX-License-Identifier: Apache-2.0
#pragma once
// Memory for packed weights, handed out in the order in which weights are read, each piece on a cache line
// border. Views into it (kernels::PackedMatrix) are good as long as the arena lives, also after it was moved.

#include <cstddef>
#include <memory>
#include <new>
#include <span>
#include <vector>

namespace moebius::model {

class WeightArena {
 public:
  static constexpr std::size_t alignment = 64;

  /// Owns what it hands out.
  WeightArena() = default;

  /// The next piece, not initialised.
  std::span<std::byte> take(std::size_t bytes);
  /// Bytes handed out, with what alignment costs.
  [[nodiscard]] std::size_t used() const { return used_; }

 private:
  struct Release {
    void operator()(std::byte* bytes) const { ::operator delete(bytes, std::align_val_t{alignment}); }
  };
  std::size_t used_ = 0;
  std::vector<std::unique_ptr<std::byte, Release>> blocks_;
};

}  // namespace moebius::model
