// SPDX-License-Identifier: Apache-2.0
#include "base/random.hpp"

#include <Random123/philox.h>

namespace moebius {

double philox_uniform(std::uint64_t seed, std::uint64_t row_key, std::uint32_t position) {
  const auto low = [](std::uint64_t x) { return static_cast<std::uint32_t>(x); };
  const auto high = [](std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); };
  const r123::Philox4x32::ctr_type counter = {{position, 0, low(row_key), high(row_key)}};
  const r123::Philox4x32::key_type key = {{low(seed), high(seed)}};
  const auto draw = r123::Philox4x32()(counter, key);
  const std::uint64_t bits = (static_cast<std::uint64_t>(draw[0]) << 32 | draw[1]) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53;
}

}  // namespace moebius
