// SPDX-License-Identifier: Apache-2.0
#include "comm/window_layout.hpp"

#include <utility>

#include "base/check.hpp"

namespace moebius::comm {

WindowLayout::WindowLayout(int num_ranks, const RingOptions& options, WritesTo writes, PathOf path_of)
    : num_ranks_(num_ranks),
      ring_bytes_(ring_bytes(options)),
      writes_(std::move(writes)),
      path_of_(std::move(path_of)) {
  MOEBIUS_EXPECT(num_ranks >= 1 && options.num_slots >= 1);
  MOEBIUS_EXPECT(options.slot_bytes >= cache_line_bytes && options.slot_bytes % cache_line_bytes == 0);
}

std::size_t WindowLayout::num_targets(RankId rank, Path path, int end) const {
  std::size_t count = 0;
  for (int to = 0; to < end; ++to) {
    if (writes_(rank, RankId(to)) && path_of_(rank, RankId(to)) == path) ++count;
  }
  return count;
}

std::size_t WindowLayout::num_sources(RankId rank, Path path, int end) const {
  std::size_t count = 0;
  for (int from = 0; from < end; ++from) {
    if (writes_(RankId(from), rank) && path_of_(RankId(from), rank) == path) ++count;
  }
  return count;
}

std::optional<RingPlace> WindowLayout::place(RankId from, RankId to) const {
  if (!writes_(from, to)) return std::nullopt;
  const Path path = path_of_(from, to);
  const std::size_t words_of_reader = num_targets(to, path, num_ranks_);
  return RingPlace{
      .path = path,
      .ring_offset = control_bytes_of(path) + words_of_reader * cache_line_bytes +
                     num_sources(to, path, from.value) * ring_bytes_,
      .credit_offset = control_bytes_of(path) + num_targets(from, path, to.value) * cache_line_bytes,
  };
}

std::size_t WindowLayout::segment_bytes(RankId rank, Path path) const {
  return control_bytes_of(path) + num_targets(rank, path, num_ranks_) * cache_line_bytes +
         num_sources(rank, path, num_ranks_) * ring_bytes_;
}

}  // namespace moebius::comm
