// SPDX-License-Identifier: Apache-2.0
#include "model/weight_arena.hpp"

namespace moebius::model {

std::span<std::byte> WeightArena::take(std::size_t bytes) {
  used_ += (bytes + alignment - 1) / alignment * alignment;
  blocks_.emplace_back(static_cast<std::byte*>(::operator new(bytes, std::align_val_t{alignment})));
  return {blocks_.back().get(), bytes};
}

}  // namespace moebius::model
