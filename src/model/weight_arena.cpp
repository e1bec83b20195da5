// SPDX-License-Identifier: Apache-2.0
#include "model/weight_arena.hpp"

#include <fmt/format.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "base/large_pages.hpp"

namespace moebius::model {

void WeightArena::Unmap::operator()(std::byte* memory) const { ::munmap(memory, bytes); }

WeightArena WeightArena::owning(std::size_t bytes) {
  WeightArena arena;
  const std::size_t mapped = bytes + alignment;  // an arena of nothing has an address too
  void* memory = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw Failure{ExitCode::does_not_fit, fmt::format("{} bytes for weights cannot be allocated ({}) use more ranks, or a smaller model",
                                                      bytes, std::strerror(errno))};
  }
  prefer_large_pages({static_cast<std::byte*>(memory), mapped});
  arena.owned_ = {static_cast<std::byte*>(memory), Unmap{mapped}};
  arena.memory_ = {arena.owned_.get(), bytes};
  return arena;
}

WeightArena WeightArena::over(std::span<std::byte> memory) {
  MOEBIUS_EXPECT(memory.data() != nullptr && reinterpret_cast<std::uintptr_t>(memory.data()) % alignment == 0);
  WeightArena arena;
  arena.memory_ = memory;
  return arena;
}

std::span<std::byte> WeightArena::take(std::size_t bytes) {
  const std::size_t begin = used_;
  used_ += (bytes + alignment - 1) / alignment * alignment;
  if (only_counts()) return {static_cast<std::byte*>(nullptr), bytes};
  MOEBIUS_EXPECT(used_ <= memory_.size());
  return memory_.subspan(begin, bytes);
}

}  // namespace moebius::model
