// SPDX-License-Identifier: Apache-2.0
#include "comm/shared_memory.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

namespace moebius::comm {
namespace {

constexpr std::size_t num_bytes = 300'000;

/// Each member fills every n-th word of 8 bytes; all then read all of them.
void expect_shared(SharedMemory& shared, int num_members) {
  ASSERT_EQ(shared.num_members(), num_members);
  if (num_members == 1) {
    EXPECT_TRUE(shared.memory().empty());
    return shared.publish();
  }
  ASSERT_EQ(shared.memory().size(), num_bytes);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(shared.memory().data()) % 64, 0U);
  for (std::size_t word = 0; word < num_bytes / 8; ++word) {
    const std::uint64_t value = word * 3 + 1;
    if (word % static_cast<std::size_t>(num_members) == static_cast<std::size_t>(shared.member_idx())) {
      std::memcpy(shared.memory().data() + word * 8, &value, 8);
    }
  }
  shared.publish();
  for (std::size_t word = 0; word < num_bytes / 8; ++word) {
    std::uint64_t value = 0;
    std::memcpy(&value, shared.memory().data() + word * 8, 8);
    ASSERT_EQ(value, word * 3 + 1) << word;
  }
}

TEST(SharedMemory, IsFilledByAllRanksOfTheNodeThatTakePart) {
  Session session;
  // All ranks; then every second one.
  SharedMemory all(session, num_bytes);
  expect_shared(all, session.num_ranks());
  const bool second = session.rank().value % 2 == 0;
  SharedMemory some(session, second ? num_bytes : 0);
  expect_shared(some, second ? (session.num_ranks() + 1) / 2 : 1);
  all.close();
  some.close();
  session.finalize();
}

TEST(SharedMemory, EmulatedNodesDoNotShareAndNobodyDoesWhereItIsOff) {
  ASSERT_EQ(setenv("MOEBIUS_RANKS_PER_NODE", "2", 1), 0);
  Session session;
  unsetenv("MOEBIUS_RANKS_PER_NODE");
  SharedMemory pairs(session, num_bytes);
  const bool is_last_alone = session.num_ranks() % 2 == 1 && session.rank().value == session.num_ranks() - 1;
  expect_shared(pairs, is_last_alone ? 1 : 2);
  SharedMemory nobody(session, num_bytes, FastPath::off);
  expect_shared(nobody, 1);
  pairs.close();
  nobody.close();
  session.finalize();
}

}  // namespace
}  // namespace moebius::comm
