// SPDX-License-Identifier: Apache-2.0
#pragma once
// Where everything lies in the memory that each rank gives to the run: a pure function of the rank
// count, the shape of a ring, who writes to whom and over which path. Every rank computes the same
// layout, so no address is ever sent. Used by Window; tested alone.
//
//   Put segment of rank r:     [ control words | credit words of r's rings | rings into r ]
//   shared segment of rank r:  [ credit words of r's rings                 | rings into r ]
//
// Each of the two holds the pairs of its path. Every word and ring begins on a cache line of its own,
// so that two writers never share one.

#include <cstddef>
#include <functional>
#include <optional>
#include <vector>

#include "base/ids.hpp"
#include "comm/ring.hpp"

namespace moebius::comm {

/// "Does `from` ever send to `to`?" The same answer on every rank.
using WritesTo = std::function<bool(RankId from, RankId to)>;

/// How the two ranks of a pair reach each other's rings.
enum class Path : std::uint8_t { put, shared };
using PathOf = std::function<Path(RankId from, RankId to)>;

inline constexpr std::size_t cache_line_bytes = 64;
/// Words for ControlBoard at the start of every Put segment, one per cache line.
inline constexpr std::size_t num_control_words = 64;
inline constexpr std::size_t control_bytes = num_control_words * cache_line_bytes;

/// Of the ring of one pair; both offsets count from the start of a segment of the pair's path.
struct RingPlace {
  Path path = Path::put;
  std::size_t ring_offset = 0;    ///< in the segment of the reader
  std::size_t credit_offset = 0;  ///< in the segment of the writer
};

class WindowLayout {
 public:
  WindowLayout(int num_ranks, const RingOptions& options, WritesTo writes, PathOf path_of);

  /// Nothing where `from` does not write to `to`.
  [[nodiscard]] std::optional<RingPlace> place(RankId from, RankId to) const;
  /// What `rank` has to allocate.
  [[nodiscard]] std::size_t segment_bytes(RankId rank, Path path) const;

 private:
  /// Ranks below `end` that `rank` writes to (that write to `rank`) over this path.
  [[nodiscard]] std::size_t num_targets(RankId rank, Path path, int end) const;
  [[nodiscard]] std::size_t num_sources(RankId rank, Path path, int end) const;
  [[nodiscard]] static std::size_t control_bytes_of(Path path) { return path == Path::put ? control_bytes : 0; }

  int num_ranks_;
  std::size_t ring_bytes_;
  WritesTo writes_;
  PathOf path_of_;
};

}  // namespace moebius::comm
