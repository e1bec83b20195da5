// SPDX-License-Identifier: Apache-2.0
#include "comm/node_segments.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

namespace moebius::comm {
namespace {

std::size_t bytes_of(RankId rank) { return static_cast<std::size_t>(rank.value % 3) * 1000; }  // some give nothing

/// Each rank writes its number into a part of each segment; after a barrier all parts are seen by all.
void expect_shared(Session& session, NodeSegments& shared, std::size_t num_ranks) {
  const auto& segments = shared.segments();
  ASSERT_EQ(segments.size(), num_ranks);
  if (num_ranks > 0) { ASSERT_TRUE(segments.contains(session.rank())); }
  const auto part = [&](RankId owner, RankId writer) {
    const std::size_t idx = static_cast<std::size_t>(std::distance(segments.begin(), segments.find(writer)));
    return segments.at(owner).subspan(idx * 100, 100);
  };
  for (const auto& [owner, segment] : segments) {
    ASSERT_EQ(segment.size(), bytes_of(owner));
    EXPECT_EQ(session.node_idx_of(owner), session.node_idx());
    if (segment.empty()) continue;
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(segment.data()) % 64, 0U);
    std::memset(part(owner, session.rank()).data(), session.rank().value + 1, 100);
  }
  session.barrier();
  for (const auto& [owner, segment] : segments) {
    if (segment.empty()) continue;
    for (const auto& [writer, unused] : segments) {
      for (const std::byte value : part(owner, writer)) ASSERT_EQ(std::to_integer<int>(value), writer.value + 1);
    }
  }
  session.barrier();
}

TEST(NodeSegments, AreSeenByAllRanksOfTheNode) {
  Session session;
  NodeSegments all(session, bytes_of(session.rank()));
  expect_shared(session, all, session.num_ranks() == 1 ? 0 : static_cast<std::size_t>(session.num_ranks()));
  all.close();
  session.finalize();
}

TEST(NodeSegments, EmulatedNodesDoNotShareAndNobodyDoesWhereItIsOff) {
  ASSERT_EQ(setenv("MOEBIUS_RANKS_PER_NODE", "2", 1), 0);
  Session session;
  unsetenv("MOEBIUS_RANKS_PER_NODE");
  NodeSegments pairs(session, bytes_of(session.rank()));
  const bool is_alone = session.num_ranks() % 2 == 1 && session.rank().value == session.num_ranks() - 1;
  expect_shared(session, pairs, is_alone ? 0 : 2);
  NodeSegments nobody(session, bytes_of(session.rank()), FastPath::off);
  expect_shared(session, nobody, 0);
  pairs.close();
  nobody.close();
  session.finalize();
}

}  // namespace
}  // namespace moebius::comm
