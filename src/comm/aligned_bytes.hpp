// SPDX-License-Identifier: Apache-2.0
#pragma once
// Zeroed memory that starts on a cache line and keeps its address when its owner moves: ring slots
// outside MPI windows. Internal to comm and its tests.

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>

namespace moebius::comm {

struct AlignedDelete {
  void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t{64}); }
};
using AlignedBytes = std::unique_ptr<std::byte[], AlignedDelete>;

inline AlignedBytes make_aligned_bytes(std::size_t bytes) {
  AlignedBytes memory(static_cast<std::byte*>(::operator new[](bytes, std::align_val_t{64})));
  std::memset(memory.get(), 0, bytes);
  return memory;
}

}  // namespace moebius::comm
