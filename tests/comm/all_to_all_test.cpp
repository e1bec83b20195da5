// SPDX-License-Identifier: Apache-2.0
#include "comm/all_to_all.hpp"

#include <gtest/gtest.h>

#include <numeric>
#include <random>
#include <vector>

namespace moebius::comm {
namespace {

constexpr std::size_t unit = AllToAll::unit_bytes;

/// Units that rank `from` sends to rank `to` in a round; many are none.
std::int64_t units_of(int round, int from, int to) {
  std::mt19937_64 random(static_cast<std::uint64_t>(round * 1000 + from * 30 + to));
  return random() % 3 == 0 ? 0 : static_cast<std::int64_t>(random() % 40);
}
std::byte value_of(int round, int from, int to, std::size_t i) {
  return static_cast<std::byte>((round * 7 + from * 31 + to * 57) + static_cast<int>(i % 251));
}

TEST(AllToAll, EveryBlockComesToItsRankOnceAndWhole) {
  Session session;
  AllToAll all(session);
  AllToAll::Wait expected = AllToAll::Wait::ranks;
  all.while_waiting([&](AllToAll::Wait what) { EXPECT_EQ(what, expected); });
  const int self = session.rank().value;
  const auto n = static_cast<std::size_t>(session.num_ranks());
  for (int round = 0; round < 20; ++round) {
    std::vector<std::int64_t> to_units(n), from_units(n, -1);
    for (std::size_t r = 0; r < n; ++r) to_units[r] = units_of(round, self, static_cast<int>(r));
    all.exchange_counts(to_units, from_units);
    std::vector<std::size_t> to_bytes(n), from_bytes(n);
    std::vector<std::byte> to;
    for (std::size_t r = 0; r < n; ++r) {
      ASSERT_EQ(from_units[r], units_of(round, static_cast<int>(r), self));
      to_bytes[r] = static_cast<std::size_t>(to_units[r]) * unit;
      from_bytes[r] = static_cast<std::size_t>(from_units[r]) * unit;
      for (std::size_t i = 0; i < to_bytes[r]; ++i) to.push_back(value_of(round, self, static_cast<int>(r), i));
    }
    std::vector<std::byte> from(std::accumulate(from_bytes.begin(), from_bytes.end(), std::size_t{0}));
    expected = AllToAll::Wait::bytes;
    all.exchange(to, to_bytes, from, from_bytes);
    expected = AllToAll::Wait::ranks;
    std::size_t at = 0;
    for (std::size_t r = 0; r < n; ++r) {
      for (std::size_t i = 0; i < from_bytes[r]; ++i, ++at) ASSERT_EQ(from[at], value_of(round, static_cast<int>(r), self, i));
    }
    std::vector<std::int64_t> sums{self, 1, round};
    all.sum(sums);
    const std::int64_t ranks = session.num_ranks();
    EXPECT_EQ(sums, (std::vector<std::int64_t>{ranks * (ranks - 1) / 2, ranks, ranks * round}));
    EXPECT_EQ(all.any(false), false);
    EXPECT_EQ(all.any(self == round % session.num_ranks()), true);
  }
  all.close();
  session.finalize();
}

}  // namespace
}  // namespace moebius::comm
