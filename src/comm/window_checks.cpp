// SPDX-License-Identifier: Apache-2.0
#include "comm/window_checks.hpp"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <thread>

#include "base/check.hpp"
#include "base/clock.hpp"
#include "comm/ring_transport.hpp"
#include "comm/window.hpp"

namespace moebius::comm {
namespace {

constexpr std::size_t slot_bytes = std::size_t{1} << 16;
constexpr int num_slots = 4;
constexpr std::size_t large_put_bytes = slot_bytes * static_cast<std::size_t>(num_slots);  // fits the ring of a pair
constexpr int num_messages = 200, num_additions = 100;
constexpr double ring_deadline_s = 10.0, sleep_s = 0.4, measure_s = 0.5;
/// Control words of rank 0 that the checks use.
constexpr std::size_t finished_word = 0, sum_word = 1;

/// Byte `i` of message `number` of rank `from`.
std::byte pattern(int from, int number, std::size_t i) {
  return static_cast<std::byte>((static_cast<std::size_t>(from) * 31 + static_cast<std::size_t>(number) * 7 + i * 13 + (i >> 8)) & 0xff);
}

std::size_t message_bytes(int number) { return 1 + static_cast<std::size_t>(number) * 7919 % slot_bytes; }

bool is_whole(int from, int number, std::span<const std::byte> payload) {
  if (payload.size() != message_bytes(number)) return false;
  for (std::size_t i = 0; i < payload.size(); ++i)
    if (payload[i] != pattern(from, number, i)) return false;
  return true;
}

template <class Type>
std::vector<Type> gather(Session& session, Type value) {
  const auto parts = session.gather_to_root(std::as_bytes(std::span(&value, 1)));
  std::vector<Type> values(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) std::memcpy(&values[i], parts[i].data(), sizeof(Type));
  return values;
}

double median(std::vector<double>& values) {
  MOEBIUS_EXPECT(!values.empty());
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

/// Of calls made for `measure_s`, at least three.
template <class Call>
double median_time(Call call) {
  std::vector<double> times;
  for (const double begin = now_s(); times.size() < 3 || (now_s() - begin < measure_s && times.size() < 10000);) {
    const double before = now_s();
    call();
    times.push_back(now_s() - before);
  }
  return median(times);
}

class Checker {
 public:
  explicit Checker(Session& session)
      : session_(session),
        window_(session, {.slot_bytes = slot_bytes, .num_slots = num_slots},
                [n = session.num_ranks()](RankId from, RankId to) {
                  return to.value == (from.value + 1) % n || (from.value == 0 && to.value == n - 1);
                },
                FastPath::off),
        source_(large_put_bytes) {}

  WindowChecks run() {
    checks_.ring_problem = rings();
    checks_.rings_ok = session_.agree_max(checks_.ring_problem.empty() ? 0 : 1) == 0;
    if (!checks_.rings_ok && checks_.ring_problem.empty()) checks_.ring_problem = "messages of other ranks did not arrive";
    atomics();
    speed();
    asleep();
    window_.close();
    return checks_;
  }

 private:
  [[nodiscard]] bool is_origin() const { return session_.rank().value == 0; }
  [[nodiscard]] bool is_target() const { return session_.rank() == target(); }
  [[nodiscard]] RankId target() const { return RankId(session_.num_ranks() - 1); }

  /// Everybody sends to the next rank and reads from the one before; all go on working until all have finished.
  std::string rings() {
    const int n = session_.num_ranks(), me = session_.rank().value;
    const RankId next((me + 1) % n);
    const int before = (me + n - 1) % n;
    RingTransport transport(window_);
    int num_sent = 0, num_received = 0;
    std::string problem;
    bool told = false;
    const double deadline = now_s() + ring_deadline_s;
    for (double next_look = 0; now_s() < deadline;) {
      for (; num_sent < num_messages; ++num_sent) {
        const auto space = transport.try_reserve(next, message_bytes(num_sent));
        if (space.empty()) break;
        for (std::size_t i = 0; i < message_bytes(num_sent); ++i) space[i] = pattern(me, num_sent, i);
        transport.commit(next, {.num_rows = static_cast<std::uint32_t>(num_sent)}, message_bytes(num_sent));
      }
      transport.flush();
      transport.drain(
          [&](RankId from, const MessageHeader& header, std::span<const std::byte> payload) {
            if (from.value != before || header.num_rows != static_cast<std::uint32_t>(num_received) || !is_whole(before, num_received, payload))
              problem = "message " + std::to_string(num_received) + " from rank " + std::to_string(from.value) + " is not the one that was sent";
            ++num_received;
          },
          16);
      transport.progress();
      if (!told && num_sent == num_messages && num_received == num_messages) {
        told = true;
        window_.fetch_add(RankId(0), finished_word, 1);
      }
      if (told && now_s() >= next_look) {
        if (window_.fetch_add(RankId(0), finished_word, 0) >= n) return problem;
        next_look = now_s() + 0.002;
      }
      std::this_thread::yield();
    }
    return problem.empty() ? std::to_string(num_received) + " of " + std::to_string(num_messages) + " messages arrived in time" : problem;
  }

  void atomics() {
    session_.barrier();
    std::int64_t sum = 0;
    for (int i = 0; i < num_additions; ++i) sum += window_.fetch_add(RankId(0), sum_word, 1);
    session_.barrier();
    const auto sums = gather(session_, sum);
    if (!is_origin()) return;
    // Every value from 0 on was returned exactly once.
    const std::int64_t total = std::int64_t{num_additions} * session_.num_ranks();
    std::int64_t all = 0;
    for (const std::int64_t part : sums) all += part;
    checks_.atomics_ok = all == total * (total - 1) / 2 && window_.fetch_add(RankId(0), sum_word, 0) == total;
  }

  void put(std::size_t bytes) { window_.put(target(), window_.place(RankId(0), target())->ring_offset, source_.data(), bytes); }

  /// The others wait in a barrier meanwhile, inside of MPI.
  void speed() {
    session_.barrier();
    if (is_origin()) {
      checks_.put_s = median_time([&] {
        put(8);
        window_.flush(target());
      });
      checks_.fetch_add_s = median_time([&] { window_.fetch_add(target(), sum_word, 1); });
      constexpr int num_puts = 8;
      const double seconds = median_time([&] {
        for (int i = 0; i < num_puts; ++i) put(large_put_bytes);
        window_.flush(target());
      });
      checks_.put_bytes_per_s = num_puts * static_cast<double>(large_put_bytes) / seconds;
    }
    session_.barrier();
  }

  template <class Call>
  double time_asleep(Call call) {
    session_.barrier();
    double seconds = 0;
    if (is_target()) {
      std::this_thread::sleep_for(std::chrono::duration<double>(sleep_s));
    } else if (is_origin()) {
      std::this_thread::sleep_for(std::chrono::duration<double>(sleep_s / 8));  // the target sleeps by now
      const double before = now_s();
      call();
      seconds = now_s() - before;
    }
    session_.barrier();
    return seconds;
  }

  void asleep() {
    checks_.sleep_s = sleep_s;
    checks_.put_asleep_s = time_asleep([&] {
      put(4096);
      window_.flush(target());
    });
    checks_.fetch_add_asleep_s = time_asleep([&] { window_.fetch_add(target(), sum_word, 1); });
  }

  Session& session_;
  Window window_;
  std::vector<std::byte> source_;  // [large_put_bytes]
  WindowChecks checks_;
};

}  // namespace

WindowChecks check_windows(Session& session) {
  MOEBIUS_EXPECT(session.num_ranks() >= 2);
  return Checker(session).run();
}

double clock_spread_s(Session& session) {
  constexpr int num_rounds = 20;
  double best = std::numeric_limits<double>::infinity();
  for (int round = 0; round < num_rounds; ++round) {
    session.barrier();
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    const auto times = gather(session, now.count());
    if (times.empty()) continue;
    const auto [first, last] = std::minmax_element(times.begin(), times.end());
    best = std::min(best, *last - *first);
  }
  return best;
}

}  // namespace moebius::comm
