// SPDX-License-Identifier: Apache-2.0
// Set-up collectives, roles and nodes.
#include "comm/session.hpp"

#include <gtest/gtest.h>

#include <cstdlib>

#include "comm/window.hpp"

namespace moebius::comm {
namespace {

std::vector<std::byte> pattern(std::size_t bytes, int salt) {
  std::vector<std::byte> result(bytes);
  for (std::size_t i = 0; i < bytes; ++i) result[i] = static_cast<std::byte>(i * 31 + static_cast<std::size_t>(salt));
  return result;
}

TEST(Session, BroadcastReplacesWhatRanksHeld) {
  Session session;
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{100'000}}) {
    auto data = session.rank() == RankId(0) ? pattern(bytes, 3) : pattern(17, session.rank().value);
    session.broadcast(data);
    EXPECT_EQ(data, pattern(bytes, 3));
  }
  session.finalize();
}

TEST(Session, GatherKeepsOrderAndSizes) {
  Session session;
  const auto size_of = [](int rank) { return static_cast<std::size_t>(rank % 3 == 1 ? 0 : 5000 * rank + 1); };
  const auto all = session.gather_to_root(pattern(size_of(session.rank().value), session.rank().value));
  if (session.rank() != RankId(0)) {
    EXPECT_TRUE(all.empty());
  } else {
    ASSERT_EQ(all.size(), static_cast<std::size_t>(session.num_ranks()));
    for (int r = 0; r < session.num_ranks(); ++r) EXPECT_EQ(all[static_cast<std::size_t>(r)], pattern(size_of(r), r));
  }
  session.finalize();
}

TEST(Session, AgreeMaxTellsEveryRankTheWorst) {
  Session session;
  const int last = session.num_ranks() - 1;
  EXPECT_EQ(session.agree_max(session.rank().value == last ? 72 : 0), 72);
  EXPECT_EQ(session.agree_max(-5 - session.rank().value), -5);
  session.finalize();
}

TEST(Session, SplitGivesEachRoleItsRanksInWorldOrder) {
  Session session;
  const int ranks = session.num_ranks(), me = session.rank().value;
  const int attention_ranks = (ranks + 1) / 2;
  const bool is_attention = me < attention_ranks;
  auto groups = session.split(is_attention ? Roles::attention : Roles::expert);
  EXPECT_EQ(groups.attention != nullptr, is_attention);
  EXPECT_EQ(groups.expert != nullptr, !is_attention);
  auto& mine = is_attention ? *groups.attention : *groups.expert;
  EXPECT_EQ(mine.num_ranks(), is_attention ? attention_ranks : ranks - attention_ranks);
  EXPECT_EQ(mine.rank().value, is_attention ? me : me - attention_ranks);
  EXPECT_EQ(mine.agree_max(me), is_attention ? attention_ranks - 1 : ranks - 1);
  groups.free();

  auto both = session.split(Roles::both);
  EXPECT_EQ(both.attention->num_ranks(), ranks);
  EXPECT_EQ(both.expert->rank().value, me);
  both.free();
  session.finalize();
}

TEST(Session, KnowsItsNodeAndLibrary) {
  Session session;
  EXPECT_FALSE(session.processor_name().empty());
  EXPECT_NE(session.library_version().find("MPI"), std::string::npos);
  EXPECT_EQ(session.library_version().find('\n'), std::string::npos);
  EXPECT_EQ(session.num_nodes(), 1);
  EXPECT_EQ(session.ranks_on_my_node().size(), static_cast<std::size_t>(session.num_ranks()));
  session.finalize();
}

TEST(Session, RanksPerNodePretendsNodes) {
  setenv("MOEBIUS_RANKS_PER_NODE", "3", 1);
  Session session;
  EXPECT_EQ(session.num_nodes(), (session.num_ranks() + 2) / 3);
  for (const RankId rank : session.ranks_on_my_node()) EXPECT_EQ(rank.value / 3, session.rank().value / 3);
  EXPECT_EQ(session.memory_node().num_ranks(), session.num_ranks());
  session.finalize();
  unsetenv("MOEBIUS_RANKS_PER_NODE");
}

TEST(Session, BadEnvironmentIsNamed) {
  for (const char* text : {"0", "-1", "two", "3x"}) {
    setenv("MOEBIUS_RANKS_PER_NODE", text, 1);
    try {
      Session session;
      ADD_FAILURE() << text << " was taken";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::bad_usage);
      EXPECT_NE(std::string(failure.what()).find(std::string("MOEBIUS_RANKS_PER_NODE=") + text), std::string::npos);
    }
  }
  unsetenv("MOEBIUS_RANKS_PER_NODE");
  setenv("MOEBIUS_SHARED_MEMORY", "off", 1);
  EXPECT_EQ(fast_path_from_environment(), FastPath::off);
  setenv("MOEBIUS_SHARED_MEMORY", "perhaps", 1);
  EXPECT_THROW(fast_path_from_environment(), Failure);
  unsetenv("MOEBIUS_SHARED_MEMORY");
  EXPECT_EQ(fast_path_from_environment(), FastPath::on);
}

}  // namespace
}  // namespace moebius::comm
