// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a rank does. `comm` splits the world by it, `ranks` builds a rank from it.

#include <cstdint>

namespace moebius {

enum class Roles : std::uint8_t { attention, expert, both };
constexpr bool has_attention(Roles roles) { return roles != Roles::expert; }
constexpr bool has_experts(Roles roles) { return roles != Roles::attention; }
/// As it stands in results: "attention", "expert", "colocated".
constexpr const char* to_string(Roles roles) {
  return roles == Roles::both ? "colocated" : roles == Roles::attention ? "attention" : "expert";
}

}  // namespace moebius
