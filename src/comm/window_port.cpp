// SPDX-License-Identifier: Apache-2.0
#include "comm/window_port.hpp"

namespace moebius::comm {

namespace {

std::byte* own_memory(Window& window, Path path, std::size_t offset) {
  return path == Path::put ? window.local(offset) : window.shared(window.rank(), offset);
}

}  // namespace

WindowProducerMemory::WindowProducerMemory(Window& window, RankId to, const RingPlace& place)
    : window_(&window),
      to_(to),
      path_(place.path),
      stride_bytes_(slot_stride_bytes(window.ring_options())),
      ring_offset_(place.ring_offset),
      staging_(path_ == Path::put ? make_aligned_bytes(ring_bytes(window.ring_options())) : nullptr),
      slots_(path_ == Path::put ? staging_.get() : window.shared(to, place.ring_offset)),
      credit_(reinterpret_cast<std::uint64_t*>(own_memory(window, path_, place.credit_offset))) {}

WindowConsumerMemory::WindowConsumerMemory(Window& window, RankId from, const RingPlace& place)
    : window_(&window),
      from_(from),
      path_(place.path),
      stride_bytes_(slot_stride_bytes(window.ring_options())),
      credit_offset_(place.credit_offset),
      staging_(path_ == Path::put ? make_aligned_bytes(cache_line_bytes) : nullptr),
      slots_(own_memory(window, path_, place.ring_offset)),
      credit_(reinterpret_cast<std::uint64_t*>(path_ == Path::put ? staging_.get()
                                                                  : window.shared(from, place.credit_offset))) {}

}  // namespace moebius::comm
