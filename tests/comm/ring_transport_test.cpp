// SPDX-License-Identifier: Apache-2.0
// The rings over real MPI windows, on both paths: all that ring_test.cpp shows in simulation, here
// with whatever the one-sided component of the day does. Run on 1 to 7 ranks.
#include "comm/ring_transport.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <thread>

#include "comm/control_board.hpp"
#include "tests/support/mpi_call_counter.hpp"
#include "tests/support/ring_traffic.hpp"
#include "tests/support/test_watchdog.hpp"

namespace moebius::test {
namespace {

using comm::Checksum;
using comm::FastPath;
using comm::RingOptions;
using comm::RingTransport;
using comm::Session;
using comm::Window;

std::string table_of(comm::ControlBoard& board) {
  std::string text;
  for (const auto& state : board.read_states(0.5)) {
    text += "rank " + std::to_string(state.rank.value) +
            (state.answered ? " waits for rank " : " does not answer; rank ") +
            std::to_string(state.waits_for.value) + " since " + std::to_string(state.since_ago_s) + " s\n";
  }
  return text;
}

/// Runs the plan on all ranks and returns this rank's counters. Wrong traffic fails the test and ends
/// the job, since the other ranks would wait for ever.
comm::TransportCounters run(Session& session, Window& window, const TrafficPlan& plan, const TrafficHabits& habits) {
  comm::ControlBoard board(session, window);
  RingTransport transport(window);
  TrafficEndpoint rank(transport, plan, habits);
  TestWatchdog watchdog(60, [&] { return rank.describe() + table_of(board); });
  const MpiCallCounts before = mpi_call_counts();
  std::string error;
  try {
    do {
      if (rank.turn() != 0) {
        watchdog.progressed();
      } else {
        std::this_thread::yield();
      }
      watchdog.check();
    } while (!rank.done());
    // Others may still need this rank's attention: a finished rank makes progress until all are done.
    board.fetch_add(comm::Counter::ranks_finished, 1);
    while (board.read(comm::Counter::ranks_finished) < session.num_ranks()) {
      transport.progress();
      std::this_thread::yield();
      watchdog.check();
    }
  } catch (const std::exception& caught) {
    error = caught.what();
  }
  if (!error.empty()) {
    std::fprintf(stderr, "rank %d: %s\n", session.rank().value, error.c_str());
    Session::abort(ExitCode::internal_error);
  }
  const MpiCallCounts& after = mpi_call_counts();
  EXPECT_EQ(after.collectives - before.collectives, 0);
  EXPECT_EQ(after.two_sided - before.two_sided, 0);
  EXPECT_EQ(after.exclusive_locks - before.exclusive_locks, 0);
  EXPECT_GT(after.probes - before.probes, 0);
  return transport.counters();
}

struct Wanted {
  RingOptions options{.slot_bytes = 512, .num_slots = 4, .checksum = Checksum::on};
  std::function<std::int64_t(RankId, RankId)> num_messages;
  std::vector<TrafficHabits> habits = {{}};  ///< of rank r: habits[r % size]
};

class RingTransportTest : public ::testing::TestWithParam<FastPath> {
 protected:
  comm::TransportCounters run_all(const Wanted& wanted) {
    Session session;
    const auto writes = [&](RankId from, RankId to) { return wanted.num_messages(from, to) > 0; };
    Window window(session, wanted.options, writes, GetParam());
    const TrafficPlan plan{.seed = 11,
                           .max_payload_bytes = wanted.options.slot_bytes,
                           .num_messages = wanted.num_messages};
    const std::size_t habit = session.rank().idx() % wanted.habits.size();
    const auto counters = run(session, window, plan, wanted.habits[habit]);
    check_totals(session, wanted, counters);
    window.close();
    session.finalize();
    return counters;
  }

 private:
  static void check_totals(const Session& session, const Wanted& wanted, const comm::TransportCounters& counters) {
    std::int64_t sent = 0, received = 0;
    for (int r = 0; r < session.num_ranks(); ++r) {
      sent += wanted.num_messages(session.rank(), RankId(r));
      received += wanted.num_messages(RankId(r), session.rank());
    }
    EXPECT_EQ(counters.messages_sent, sent);
    EXPECT_EQ(counters.messages_received, received);
  }
};

TEST_P(RingTransportTest, AllToAll) {
  run_all({.num_messages = [](RankId from, RankId to) { return 300 + 10 * from.value + to.value; }});
}

TEST_P(RingTransportTest, OneSlot) {
  run_all({.options = {.slot_bytes = 128, .num_slots = 1, .checksum = Checksum::on},
           .num_messages = [](RankId, RankId) { return 100; }});
}

TEST_P(RingTransportTest, AllToOneSlowConsumerMeetsBackPressure) {
  const auto to_zero = [](RankId, RankId to) { return to == RankId(0) ? 250 : 0; };
  const auto counters = run_all({.options = {.slot_bytes = 256, .num_slots = 2, .checksum = Checksum::on},
                                 .num_messages = to_zero,
                                 .habits = {{.takes_per_turn = 1, .turns_per_drain = 3},
                                            {},
                                            {.sends_per_turn = 64},
                                            {.sends_per_turn = 3},
                                            {},
                                            {},
                                            {}}});
  EXPECT_GT(counters.reserve_refused, 0);
}

TEST_P(RingTransportTest, OneProducerManySlots) {
  const std::int64_t num_messages = GetParam() == FastPath::on ? 100'000 : 20'000;
  run_all({.options = {.slot_bytes = 64, .num_slots = 16, .checksum = Checksum::on},
           .num_messages =
               [=](RankId from, RankId to) {
                 return from == RankId(0) && to == RankId(1) ? num_messages : 0;
               },
           .habits = {{.sends_per_turn = 16}}});
}

TEST_P(RingTransportTest, TwoGroupsOfPretendedNodes) {
  // Pairs within a node take the fast path, the others Puts, in one run and one rank.
  setenv("MOEBIUS_RANKS_PER_NODE", "2", 1);
  {
    Session session;
    EXPECT_EQ(session.num_nodes(), (session.num_ranks() + 1) / 2);
    EXPECT_EQ(session.node_idx(), session.rank().value / 2);
    const auto everybody = [](RankId, RankId) { return true; };
    Window window(session, {.slot_bytes = 64, .num_slots = 2, .checksum = Checksum::on}, everybody, GetParam());
    for (int r = 0; r < session.num_ranks(); ++r) {
      const bool near = r / 2 == session.rank().value / 2 && window.fast_path() == FastPath::on;
      EXPECT_EQ(window.place(session.rank(), RankId(r))->path, near ? comm::Path::shared : comm::Path::put);
    }
    window.close();
    session.finalize();
  }
  run_all({.num_messages = [](RankId, RankId) { return 200; }});
  unsetenv("MOEBIUS_RANKS_PER_NODE");
}

TEST_P(RingTransportTest, PathsUseWhatTheyPromise) {
  Session session;
  const RankId me = session.rank();
  Window window(session, {.slot_bytes = 64, .num_slots = 4, .checksum = Checksum::on},
                [](RankId from, RankId to) { return from == to; }, GetParam());
  RingTransport transport(window);
  const MpiCallCounts before = mpi_call_counts();
  for (int i = 0; i < 4; ++i) {
    ASSERT_EQ(transport.try_reserve(me, 8).size(), 8U);
    transport.commit(me, {}, 8);
  }
  transport.flush();
  const MpiCallCounts after = mpi_call_counts();
  const bool by_put = window.fast_path() == FastPath::off;
  EXPECT_EQ(after.puts - before.puts, by_put ? 8 : 0) << "a payload and a sequence each";
  EXPECT_EQ(after.flushes - before.flushes, by_put ? 2 : 0) << "one flush for all payloads, one for all sequences";
  EXPECT_EQ(transport.drain([](auto, auto&, auto) {}, 100), 4U);
  transport.progress();
  window.close();
  session.finalize();
}

TEST_P(RingTransportTest, SequencesAndCreditsTravelWhole) {
  Session session;
  const RankId me = session.rank();
  Window window(session, {.slot_bytes = 64, .num_slots = 2, .checksum = Checksum::on},
                [](RankId from, RankId to) { return from == to; }, GetParam());
  comm::WindowProducerMemory producer(window, me, *window.place(me, me));
  comm::WindowConsumerMemory consumer(window, me, *window.place(me, me));
  for (const std::uint64_t word : {0x0123456789abcdefULL, 0xffffffff00000000ULL, 0x00000000ffffffffULL}) {
    producer.put_sequence(1, word);
    producer.flush();
    window.sync();
    EXPECT_EQ(consumer.read_sequence(1), word);
    EXPECT_EQ(consumer.read_sequence(0), 0U);
    consumer.put_credit(~word);
    consumer.flush();
    EXPECT_EQ(producer.read_credit(), ~word);
  }
  window.close();
  session.finalize();
}

INSTANTIATE_TEST_SUITE_P(Paths, RingTransportTest, ::testing::Values(FastPath::on, FastPath::off),
                         [](const auto& tested) { return tested.param == FastPath::on ? "FastPath" : "Puts"; });

}  // namespace
}  // namespace moebius::test
