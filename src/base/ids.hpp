// SPDX-License-Identifier: Apache-2.0
#pragma once
// Typed ids. An id of one kind does not convert to another or to an integer by accident;
// `idx()` is the one way to index an array with it. Anyone may use these.

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace moebius {

/// A strongly typed integer; `Tag` only tells kinds of id apart.
template <class Tag>
struct Id {
  std::int32_t value = -1;  // -1: no such thing

  constexpr Id() = default;
  constexpr explicit Id(std::int64_t v) : value(static_cast<std::int32_t>(v)) {}
  constexpr explicit Id(std::size_t v) : value(static_cast<std::int32_t>(v)) {}
  constexpr explicit Id(int v) : value(v) {}
  [[nodiscard]] constexpr std::size_t idx() const { return static_cast<std::size_t>(value); }
  [[nodiscard]] constexpr bool valid() const { return value >= 0; }
  constexpr auto operator<=>(const Id&) const = default;
};

using RankId = Id<struct RankTag>;      ///< an MPI rank of the world communicator
using LayerId = Id<struct LayerTag>;    ///< a decoder layer, 0-based
using ExpertId = Id<struct ExpertTag>;  ///< a logical routed expert of one layer
using PlaceId = Id<struct PlaceTag>;    ///< where on its rank a physical expert lives: (rank, place)

/// A vocabulary entry. Checkpoints and files hold plain 32-bit integers, so it stays one.
using TokenId = std::int32_t;

}  // namespace moebius

template <class Tag>
struct std::hash<moebius::Id<Tag>> {
  std::size_t operator()(moebius::Id<Tag> id) const noexcept { return std::hash<std::int32_t>{}(id.value); }
};
