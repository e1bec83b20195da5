// SPDX-License-Identifier: Apache-2.0
// A job that hangs on purpose: rank 1 never reads, so rank 0 runs out of credit. CTest expects that the
// watchdog ends it and says who waits for whom.
#include <cstdio>
#include <thread>

#include "base/clock.hpp"
#include "comm/control_board.hpp"
#include "comm/ring_transport.hpp"
#include "tests/support/ring_traffic.hpp"
#include "tests/support/test_watchdog.hpp"

using namespace moebius;

int main() {
  comm::Session session;
  const auto forward = [](RankId from, RankId to) { return from == RankId(0) && to == RankId(1); };
  comm::Window window(session, {.slot_bytes = 64, .num_slots = 4, .checksum = comm::Checksum::on}, forward);
  comm::ControlBoard board(session, window);
  comm::RingTransport transport(window);
  const auto num_messages = [&](RankId from, RankId to) { return forward(from, to) ? 10 : 0; };
  test::TrafficEndpoint rank(transport, {.max_payload_bytes = 64, .num_messages = num_messages});
  test::TestWatchdog watchdog(2.0, [&] {
    std::string text = rank.describe();
    for (const auto& state : board.read_states()) {
      text += "table: rank " + std::to_string(state.rank.value) + " waits for rank " +
              std::to_string(state.waits_for.value) + "\n";
    }
    return text;
  });
  const bool sends = session.rank() == RankId(0);
  board.publish_state(1, sends ? RankId(1) : RankId(), now_s());
  for (;;) {
    if (sends && rank.turn() != 0) watchdog.progressed();
    if (!sends) watchdog.progressed();  // rank 1 believes that all is well
    transport.progress();
    std::this_thread::yield();
    watchdog.check();
  }
}
