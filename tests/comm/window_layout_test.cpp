// SPDX-License-Identifier: Apache-2.0
// No two rings or words overlap, all lie inside their segment, and everything is aligned.
#include "comm/window_layout.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <utility>

namespace moebius::comm {
namespace {

struct Extent {
  std::size_t begin, end;
};

void expect_disjoint(std::vector<Extent> extents, std::size_t segment_bytes) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) { return a.begin < b.begin; });
  std::size_t end = 0;
  for (const Extent& extent : extents) {
    EXPECT_GE(extent.begin, end);
    EXPECT_EQ(extent.begin % cache_line_bytes, 0U);
    end = extent.end;
  }
  EXPECT_EQ(end, segment_bytes) << "the segment ends with the last thing in it";
}

void check_all_segments(int num_ranks, const WritesTo& writes, const PathOf& path_of) {
  const RingOptions options{.slot_bytes = 192, .num_slots = 3, .checksum = Checksum::off};
  const WindowLayout layout(num_ranks, options, writes, path_of);
  for (const Path path : {Path::put, Path::shared}) {
    for (int owner = 0; owner < num_ranks; ++owner) {
      std::vector<Extent> extents;
      if (path == Path::put) extents.push_back({0, control_bytes});
      for (int peer = 0; peer < num_ranks; ++peer) {
        const auto in = layout.place(RankId(peer), RankId(owner));
        EXPECT_EQ(in.has_value(), writes(RankId(peer), RankId(owner)));
        if (in && in->path == path) extents.push_back({in->ring_offset, in->ring_offset + ring_bytes(options)});
        const auto out = layout.place(RankId(owner), RankId(peer));
        if (out && out->path == path) extents.push_back({out->credit_offset, out->credit_offset + cache_line_bytes});
      }
      expect_disjoint(extents, layout.segment_bytes(RankId(owner), path));
    }
  }
}

TEST(WindowLayout, NothingOverlaps) {
  const WritesTo everybody = [](RankId, RankId) { return true; };
  const WritesTo two_groups = [](RankId from, RankId to) { return (from.value < 2) != (to.value < 2); };
  const WritesTo odd = [](RankId from, RankId to) { return (3 * from.value + 5 * to.value) % 4 != 1; };
  const PathOf all_put = [](RankId, RankId) { return Path::put; };
  const PathOf all_shared = [](RankId, RankId) { return Path::shared; };
  const PathOf nodes_of_two = [](RankId a, RankId b) { return a.value / 2 == b.value / 2 ? Path::shared : Path::put; };
  for (const int num_ranks : {1, 2, 3, 4, 7}) {
    for (const auto& writes : {everybody, two_groups, odd}) {
      for (const auto& path_of : {all_put, all_shared, nodes_of_two}) check_all_segments(num_ranks, writes, path_of);
    }
  }
}

TEST(WindowLayout, UnusedPairsTakeNoRoom) {
  const WindowLayout layout(5, {.slot_bytes = 64, .num_slots = 1, .checksum = Checksum::off},
                            [](RankId, RankId) { return false; }, [](RankId, RankId) { return Path::put; });
  EXPECT_EQ(layout.segment_bytes(RankId(3), Path::put), control_bytes);
  EXPECT_EQ(layout.segment_bytes(RankId(3), Path::shared), 0U);
}

}  // namespace
}  // namespace moebius::comm
