// SPDX-License-Identifier: Apache-2.0
#pragma once
// Counter-based randomness (Philox4x32-10 of Random123, Salmon et al., SC'11): a draw is a pure
// function of (seed, row, position), so it does not depend on who draws, when, or beside what.

#include <cstdint>

namespace moebius {

/// Uniform double in [0, 1) with 53 random bits.
double philox_uniform(std::uint64_t seed, std::uint64_t row_key, std::uint32_t position);

}  // namespace moebius
