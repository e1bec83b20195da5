// SPDX-License-Identifier: Apache-2.0
#pragma once
// Memory in large pages, as the weights of a job lie in it (model/weight_arena.hpp), handed out piece by piece.

#include <sys/mman.h>

#include <cstddef>
#include <memory>
#include <new>
#include <span>

#include "base/check.hpp"

namespace moebius::bench {

class LargeMemory {
 public:
  explicit LargeMemory(std::size_t bytes) : bytes_(bytes) {
    void* memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    ::madvise(memory, bytes, MADV_HUGEPAGE);
    memory_ = {static_cast<std::byte*>(memory), Unmap{bytes}};
  }
  [[nodiscard]] std::size_t left() const { return bytes_ - used_; }
  /// The next piece, on a cache line border; zeros at first.
  std::span<std::byte> take(std::size_t bytes) {
    constexpr std::size_t line = 64;
    MOEBIUS_EXPECT(bytes <= left());
    const std::size_t begin = used_;
    used_ += (bytes + line - 1) / line * line;
    return {memory_.get() + begin, bytes};
  }

 private:
  struct Unmap {
    std::size_t bytes;
    void operator()(std::byte* memory) const { ::munmap(memory, bytes); }
  };
  std::size_t bytes_, used_ = 0;
  std::unique_ptr<std::byte, Unmap> memory_;
};

}  // namespace moebius::bench
