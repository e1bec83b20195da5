// SPDX-License-Identifier: Apache-2.0
#include "base/random.hpp"

#include <Random123/philox.h>

namespace moebius {

namespace {

std::uint32_t low(std::uint64_t x) { return static_cast<std::uint32_t>(x); }
std::uint32_t high(std::uint64_t x) { return static_cast<std::uint32_t>(x >> 32); }

}  // namespace

double philox_uniform(std::uint64_t seed, std::uint64_t row_key, std::uint32_t position) {
  const r123::Philox4x32::ctr_type counter = {{position, 0, low(row_key), high(row_key)}};
  const r123::Philox4x32::key_type key = {{low(seed), high(seed)}};
  const auto draw = r123::Philox4x32()(counter, key);
  const std::uint64_t bits = (static_cast<std::uint64_t>(draw[0]) << 32 | draw[1]) >> 11;
  return static_cast<double>(bits) * 0x1.0p-53;
}

void philox_words(std::uint64_t seed, std::uint64_t stream, std::uint64_t first_draw, std::span<std::uint32_t> words) {
  const r123::Philox4x32::key_type key = {{low(seed), high(seed)}};
  for (std::size_t i = 0; i < words.size(); i += 4, ++first_draw) {
    const r123::Philox4x32::ctr_type counter = {{low(first_draw), high(first_draw), low(stream), high(stream)}};
    const auto draw = r123::Philox4x32()(counter, key);
    for (std::size_t k = 0; k < 4 && i + k < words.size(); ++k) words[i + k] = draw[k];
  }
}

}  // namespace moebius
