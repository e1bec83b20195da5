// SPDX-License-Identifier: Apache-2.0
// Counters and the watchdog's table, on all ranks at once.
#include "comm/control_board.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/clock.hpp"
#include "tests/support/mpi_call_counter.hpp"
#include "tests/support/test_watchdog.hpp"

namespace moebius::test {
namespace {

using comm::ControlBoard;
using comm::Counter;
using comm::Session;
using comm::Window;

const comm::RingOptions small_rings{.slot_bytes = 64, .num_slots = 1, .checksum = comm::Checksum::off};
const comm::WritesTo nobody = [](RankId, RankId) { return false; };

TEST(ControlBoard, ClaimsAreDisjointAndComplete) {
  Session session;
  Window window(session, small_rings, nobody);
  ControlBoard board(session, window);
  constexpr std::int64_t num_claims = 400;
  std::vector<std::int64_t> mine;
  const MpiCallCounts before = mpi_call_counts();
  for (;;) {
    const std::int64_t claim = board.fetch_add(Counter::next_claim, 3);
    if (claim >= 3 * num_claims) break;
    mine.push_back(claim);
    board.fetch_add(Counter::rows_done, 3);
  }
  board.fetch_add(Counter::ranks_finished, 1);
  TestWatchdog watchdog(20, [] { return std::string("waits for ranks_finished"); });
  while (board.read(Counter::ranks_finished) < session.num_ranks()) {
    window.progress();
    std::this_thread::yield();
    watchdog.check();
  }
  EXPECT_EQ(mpi_call_counts().collectives - before.collectives, 0);
  EXPECT_EQ(mpi_call_counts().exclusive_locks - before.exclusive_locks, 0);
  EXPECT_EQ(board.read(Counter::rows_done), 3 * num_claims);
  EXPECT_EQ(board.read(Counter::rows_failed), 0);

  const auto all = session.gather_to_root(std::as_bytes(std::span(mine)));
  if (session.rank() == RankId(0)) {
    std::vector<std::int64_t> claims;
    for (const auto& bytes : all) {
      const std::size_t old = claims.size();
      claims.resize(old + bytes.size() / sizeof(std::int64_t));
      if (!bytes.empty()) std::memcpy(claims.data() + old, bytes.data(), bytes.size());
    }
    std::sort(claims.begin(), claims.end());
    ASSERT_EQ(claims.size(), static_cast<std::size_t>(num_claims));
    for (std::size_t i = 0; i < claims.size(); ++i) EXPECT_EQ(claims[i], static_cast<std::int64_t>(3 * i));
  }
  session.barrier();
  window.close();
  session.finalize();
}

TEST(ControlBoard, EveryRankReadsEveryState) {
  Session session;
  Window window(session, small_rings, nobody);
  ControlBoard board(session, window);
  for (const auto& state : board.read_states()) {
    ASSERT_TRUE(state.answered);
    EXPECT_LT(state.published_ago_s, 0) << "nobody has published yet";
  }
  session.barrier();
  const int me = session.rank().value;
  const RankId next((me + 1) % session.num_ranks());
  board.publish_state(static_cast<std::uint16_t>(100 + me), next, now_s() - 50.0 - me);
  board.publish_load(7 * me, 1000 + me);
  session.barrier();
  const auto states = board.read_states();
  ASSERT_EQ(states.size(), static_cast<std::size_t>(session.num_ranks()));
  for (int r = 0; r < session.num_ranks(); ++r) {
    const auto& state = states[static_cast<std::size_t>(r)];
    ASSERT_TRUE(state.answered);
    EXPECT_EQ(state.rank, RankId(r));
    EXPECT_EQ(state.phase, 100 + r);
    EXPECT_EQ(state.waits_for, RankId((r + 1) % session.num_ranks()));
    EXPECT_NEAR(state.since_ago_s, 50.0 + r, 5.0);  // clocks meet within the time of a barrier
    EXPECT_NEAR(state.published_ago_s, 0.0, 5.0);
    EXPECT_EQ(state.queued_rows, 7 * r);
    EXPECT_EQ(state.expert_rows, 1000 + r);
  }
  session.barrier();
  board.publish_state(7, RankId(), now_s());
  session.barrier();
  EXPECT_FALSE(board.read_states().back().waits_for.valid());
  session.barrier();
  window.close();
  session.finalize();
}

TEST(ControlBoard, ReadingDoesNotHangWithARankThatHangs) {
  Session session;
  Window window(session, small_rings, nobody);
  ControlBoard board(session, window);
  board.publish_state(5, RankId(0), now_s());
  session.barrier();
  if (session.rank().value == session.num_ranks() - 1) {
    // Plays a rank that computes and never enters MPI.
    for (const double start_s = now_s(); now_s() - start_s < 1.5;) std::this_thread::yield();
  } else {
    const double start_s = now_s();
    const auto states = board.read_states(0.3);
    EXPECT_LT(now_s() - start_s, 1.4);
    EXPECT_TRUE(states[session.rank().idx()].answered);
  }
  session.barrier();
  window.close();  // also completes what was not answered in time
  session.finalize();
}

}  // namespace
}  // namespace moebius::test
