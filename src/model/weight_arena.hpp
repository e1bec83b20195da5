// SPDX-License-Identifier: Apache-2.0
#pragma once
// Memory for weights, handed out in the order in which they are read, each piece on a cache line border. Every
// rank that walks the same weights gets the same places, so the memory may be one window of a node. An arena
// that only counts says beforehand how large it has to be.

#include <cstddef>
#include <memory>
#include <span>

namespace moebius::model {

class WeightArena {
 public:
  static constexpr std::size_t alignment = 64;

  /// Hands out nothing but sizes.
  static WeightArena counting() { return {}; }
  /// Memory of its own, in large pages where the system has them. Throws Failure{does_not_fit}.
  static WeightArena owning(std::size_t bytes);
  /// Somebody else's memory, which starts on an alignment border and must outlive all views into it.
  static WeightArena over(std::span<std::byte> memory);

  /// The next piece, not initialised; without an address where the arena only counts.
  std::span<std::byte> take(std::size_t bytes);
  /// All of it, handed out or not.
  [[nodiscard]] std::span<std::byte> all() const { return memory_; }
  /// Bytes handed out, with what alignment costs.
  [[nodiscard]] std::size_t used() const { return used_; }
  [[nodiscard]] bool only_counts() const { return memory_.data() == nullptr; }

 private:
  struct Unmap {
    std::size_t bytes;
    void operator()(std::byte* memory) const;
  };

  WeightArena() = default;

  std::size_t used_ = 0;
  std::span<std::byte> memory_;
  std::unique_ptr<std::byte, Unmap> owned_;
};

}  // namespace moebius::model
