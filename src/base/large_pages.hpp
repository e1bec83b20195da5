// SPDX-License-Identifier: Apache-2.0
#pragma once
// Large arrays that are streamed through: with small pages the address translation would miss all the time.

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <span>

namespace moebius {

/// Asks the system for large pages where `memory`, private and not yet touched, has whole ones. A wish: no error.
inline void prefer_large_pages(std::span<std::byte> memory) {
  constexpr std::uintptr_t page_bytes = std::uintptr_t{2} << 20;
  const auto begin = (reinterpret_cast<std::uintptr_t>(memory.data()) + page_bytes - 1) / page_bytes * page_bytes;
  const auto end = (reinterpret_cast<std::uintptr_t>(memory.data()) + memory.size()) / page_bytes * page_bytes;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
}

}  // namespace moebius
