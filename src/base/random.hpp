// SPDX-License-Identifier: Apache-2.0
#pragma once
// Counter-based randomness (Philox4x32-10 of Random123, Salmon et al., SC'11): a draw is a pure
// function of (seed, row, position), so it does not depend on who draws, when, or beside what.

#include <cstdint>
#include <span>

namespace moebius {

/// Uniform double in [0, 1) with 53 random bits.
double philox_uniform(std::uint64_t seed, std::uint64_t row_key, std::uint32_t position);

/// words[i] = 32 random bits, number 4 * first_draw + i of the stream. Not to be mixed with philox_uniform
/// under the same seed.
void philox_words(std::uint64_t seed, std::uint64_t stream, std::uint64_t first_draw, std::span<std::uint32_t> words);

}  // namespace moebius
