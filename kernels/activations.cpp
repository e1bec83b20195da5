// SPDX-License-Identifier: Apache-2.0
#include "kernels/activations.hpp"

#include <cstring>

#include "kernels/kernel_table.hpp"

namespace moebius::kernels {

void convert_rows(ComputeType type, std::span<const float> src, std::byte* dst) {
  if (src.empty()) return;
  if (type == ComputeType::fp32) {
    std::memcpy(dst, src.data(), src.size_bytes());
    return;
  }
  active_kernels().narrow_row(src.data(), static_cast<std::int64_t>(src.size()),
                              reinterpret_cast<std::uint16_t*>(dst));
}

}  // namespace moebius::kernels
