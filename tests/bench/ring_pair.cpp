// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/ring_pair.hpp"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>
#include <vector>

#include "base/clock.hpp"
#include "comm/ring_transport.hpp"

namespace moebius::bench {
namespace {

using comm::FastPath;
using comm::RingTransport;
using comm::Session;
using comm::Window;

constexpr std::size_t small_bytes = 64;
constexpr std::size_t large_bytes = 16 * 1024;
constexpr int num_repeats = 7;

/// Spins, and lets others run when nothing has come for long: there may be fewer cores than ranks.
class Idle {
 public:
  void found_nothing() {
    if (++idle_turns_ % 2000 == 0) std::this_thread::yield();
  }
  void found_something() { idle_turns_ = 0; }

 private:
  int idle_turns_ = 0;
};

bool try_send(RingTransport& transport, RankId to, std::size_t bytes, const std::byte* source) {
  const auto space = transport.try_reserve(to, bytes);
  if (space.empty()) return false;
  std::memcpy(space.data(), source, bytes);
  transport.commit(to, {.kind = 1}, bytes);
  return true;
}

/// Seconds of one way, half of there and back.
double ping_pong_s(Session& session, RingTransport& transport, int num_round_trips) {
  const bool first = session.rank() == RankId(0);
  const RankId peer(first ? 1 : 0);
  const std::vector<std::byte> source(small_bytes, std::byte{1});
  std::vector<std::byte> sink(small_bytes);
  int to_send = first ? 1 : 0;  // messages this rank may send now
  int received = 0, sent = 0;
  Idle idle;
  session.barrier();
  const double start_s = now_s();
  while (received < num_round_trips || sent < num_round_trips) {
    const auto taken = transport.drain(
        [&](RankId, const comm::MessageHeader&, std::span<const std::byte> payload) {
          std::memcpy(sink.data(), payload.data(), payload.size());
        },
        1);
    received += static_cast<int>(taken);
    to_send += static_cast<int>(taken);
    if (to_send > 0 && sent < num_round_trips && try_send(transport, peer, small_bytes, source.data())) {
      --to_send;
      ++sent;
      transport.flush();
    }
    transport.progress();
    taken != 0 ? idle.found_something() : idle.found_nothing();
  }
  return (now_s() - start_s) / num_round_trips / 2;
}

/// Seconds per message from rank 0 to rank 1, as many under way as the ring holds. Rank 0 copies each
/// payload in and rank 1 copies it out, as event loops do.
double stream_s(Session& session, RingTransport& transport, std::size_t bytes, int num_messages) {
  const bool sends = session.rank() == RankId(0);
  const std::vector<std::byte> source(bytes, std::byte{1});
  std::vector<std::byte> sink(bytes);
  int moved = 0;
  Idle idle;
  session.barrier();
  const double start_s = now_s();
  while (moved < num_messages) {
    int in_turn = 0;
    if (sends) {
      while (moved + in_turn < num_messages && in_turn < 16 && try_send(transport, RankId(1), bytes, source.data())) {
        ++in_turn;
      }
      transport.flush();
    } else {
      in_turn = static_cast<int>(transport.drain(
          [&](RankId, const comm::MessageHeader&, std::span<const std::byte> payload) {
            std::memcpy(sink.data(), payload.data(), payload.size());
          },
          64));
    }
    moved += in_turn;
    transport.progress();
    in_turn != 0 ? idle.found_something() : idle.found_nothing();
  }
  session.barrier();  // until the reader is through
  return (now_s() - start_s) / num_messages;
}

/// Seconds of one plain copy of `bytes` within memory of `ring_bytes`, as a ring would be filled.
double memcpy_s(std::size_t bytes, std::size_t ring_bytes) {
  const std::vector<std::byte> source(bytes, std::byte{1});
  std::vector<std::byte> ring(ring_bytes);
  const std::size_t num_slots = ring_bytes / bytes;
  constexpr int num_copies = 100'000;
  const double start_s = now_s();
  for (int i = 0; i < num_copies; ++i) {
    std::memcpy(ring.data() + static_cast<std::size_t>(i) % num_slots * bytes, source.data(), bytes);
    asm volatile("" : : "r"(ring.data()) : "memory");  // the copy is the result
  }
  return (now_s() - start_s) / num_copies;
}

template <class Measure>
double best_of(Measure measure) {
  std::vector<double> times;
  for (int i = 0; i < num_repeats; ++i) times.push_back(measure());
  return *std::min_element(times.begin(), times.end());
}

struct Measured {
  FastPath path;  ///< what the window could do: it falls back to Puts where MPI shares no memory
  double ping_pong_s, small_s, large_s;
};

Measured measure_path(Session& session, FastPath path) {
  const auto writes = [](RankId from, RankId to) { return from != to; };
  constexpr int slots = 16;
  const comm::RingOptions rings{.slot_bytes = large_bytes, .num_slots = slots, .checksum = comm::Checksum::off};
  Window window(session, rings, writes, path);
  RingTransport transport(window);
  Measured result{.path = window.fast_path(), .ping_pong_s = 0, .small_s = 0, .large_s = 0};
  result.ping_pong_s = best_of([&] { return ping_pong_s(session, transport, 20'000); });
  result.small_s = best_of([&] { return stream_s(session, transport, small_bytes, 100'000); });
  result.large_s = best_of([&] { return stream_s(session, transport, large_bytes, 20'000); });
  session.barrier();
  window.close();
  return result;
}

void print(const Measured& measured, double memcpy_large_s) {
  std::printf("%s %.6e %.6e %.6e %.6e\n", measured.path == FastPath::on ? "load_store" : "put", measured.ping_pong_s,
              measured.small_s, measured.large_s, memcpy_large_s);
}

}  // namespace

int run_ring_pair() {
  Session session;
  if (session.num_ranks() != 2) {
    if (session.rank() == RankId(0)) std::fprintf(stderr, "the ring benchmark measures a pair: start it with mpirun -n 2\n");
    Session::abort(ExitCode::bad_usage);
  }
  const double memcpy_large_s = memcpy_s(large_bytes, 16 * large_bytes);
  const Measured fast = measure_path(session, FastPath::on);
  const Measured puts = measure_path(session, FastPath::off);
  if (session.rank() == RankId(0)) {
    if (fast.path == FastPath::on) print(fast, memcpy_large_s);
    print(puts, memcpy_large_s);
  }
  session.finalize();
  return 0;
}

}  // namespace moebius::bench
