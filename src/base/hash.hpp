// SPDX-License-Identifier: Apache-2.0
#pragma once
// Hashes for checksums, fingerprints and the invariance digest: XXH3 of the xxHash library.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace moebius {

std::uint64_t xxh3_64(std::span<const std::byte> bytes, std::uint64_t seed = 0);
std::uint64_t xxh3_64(std::string_view text, std::uint64_t seed = 0);

/// 16 lower-case hexadecimal digits.
std::string to_hex(std::uint64_t value);

/// A 128-bit hash that can be summed: the sum over rows does not depend on their order, which is what
/// lets one digest compare runs with other rank counts, schedules and input orders.
struct Digest128 {
  std::uint64_t low = 0, high = 0;
  Digest128& operator+=(const Digest128& other) {  // modulo 2^64 in each half
    low += other.low;
    high += other.high;
    return *this;
  }
  constexpr bool operator==(const Digest128&) const = default;
};
Digest128 xxh3_128(std::span<const std::byte> bytes);
/// 32 lower-case hexadecimal digits, high half first.
std::string to_hex(const Digest128& digest);

}  // namespace moebius
