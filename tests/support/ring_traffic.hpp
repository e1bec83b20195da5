// SPDX-License-Identifier: Apache-2.0
#pragma once
// Messages whose content both sides can compute, to try a Transport: message n of a pair has a random
// size and random bytes that depend on (seed, from, to, n) alone. A TrafficEndpoint sends its share,
// checks all it receives, and can say what it still waits for. Wrong content, a message too many or
// out of order throws TrafficError.

#include <cstdint>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/transport.hpp"

namespace moebius::test {

class TrafficError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Splitmix64 as a generator object.
class TestRandom {
 public:
  explicit TestRandom(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    state_ += 0x9e3779b97f4a7c15U;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
  }
  std::uint64_t below(std::uint64_t bound) { return next() % bound; }

 private:
  std::uint64_t state_;
};

struct TrafficPlan {
  std::uint64_t seed = 1;
  std::size_t max_payload_bytes = 512;
  /// How many messages `from` sends to `to`; 0 where the pair has no ring.
  std::function<std::int64_t(RankId from, RankId to)> num_messages;
};

/// How a rank behaves in one turn of its loop.
struct TrafficHabits {
  int sends_per_turn = 8;             ///< to each destination
  std::size_t takes_per_turn = 1000;  ///< messages drained
  int turns_per_drain = 1;            ///< a slow consumer drains only every so many turns
};

class TrafficEndpoint {
 public:
  TrafficEndpoint(comm::Transport& transport, const TrafficPlan& plan, const TrafficHabits& habits = {})
      : transport_(transport), plan_(plan), habits_(habits) {
    const auto ranks = static_cast<std::size_t>(transport.num_ranks());
    sent_.resize(ranks);
    received_.resize(ranks);
  }

  /// One turn of an event loop; returns how many messages moved.
  std::int64_t turn() {
    std::int64_t moved = 0;
    for (std::size_t to = 0; to < sent_.size(); ++to) {
      for (int i = 0; i < habits_.sends_per_turn && sent_[to] < to_send(to) && send_some(to); ++i) ++moved;
    }
    transport_.flush();
    if (turn_idx_++ % habits_.turns_per_drain == 0) {
      moved += static_cast<std::int64_t>(transport_.drain(
          [this](RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload) {
            check(from, header, payload);
          },
          habits_.takes_per_turn));
    }
    transport_.progress();
    return moved;
  }

  [[nodiscard]] bool done() const {
    for (std::size_t r = 0; r < sent_.size(); ++r) {
      if (sent_[r] != to_send(r) || received_[r] != to_receive(r)) return false;
    }
    return true;
  }

  /// One line for each peer this rank waits for.
  [[nodiscard]] std::string describe() const {
    const std::string me = "rank " + std::to_string(transport_.rank().value);
    std::string text;
    for (std::size_t r = 0; r < sent_.size(); ++r) {
      const std::string peer = std::to_string(r);
      if (sent_[r] != to_send(r)) {
        text += me + " waits for credit of rank " + peer + " (" + std::to_string(sent_[r]) + " of " +
                std::to_string(to_send(r)) + " sent)\n";
      }
      if (received_[r] != to_receive(r)) {
        text += me + " waits for messages of rank " + peer + " (" + std::to_string(received_[r]) + " of " +
                std::to_string(to_receive(r)) + " received)\n";
      }
    }
    return text.empty() ? me + " waits for nobody\n" : text;
  }

 private:
  [[nodiscard]] std::int64_t to_send(std::size_t to) const { return plan_.num_messages(transport_.rank(), RankId(to)); }
  [[nodiscard]] std::int64_t to_receive(std::size_t from) const {
    return plan_.num_messages(RankId(from), transport_.rank());
  }

  TestRandom message_random(RankId from, RankId to, std::int64_t n) const {
    TestRandom random(plan_.seed);
    std::uint64_t key = random.next();
    for (const std::int64_t part : {std::int64_t{from.value}, std::int64_t{to.value}, n}) {
      key = TestRandom(key ^ static_cast<std::uint64_t>(part)).next();
    }
    return TestRandom(key);
  }

  static comm::MessageHeader header_of(TestRandom& random, std::int64_t n) {
    const std::uint64_t bits = random.next();
    return {.kind = static_cast<std::uint16_t>(bits),
            .layer = static_cast<std::uint16_t>(bits >> 16),
            .generation = static_cast<std::uint32_t>(bits >> 32),
            .num_rows = static_cast<std::uint32_t>(n),
            .num_pairs = static_cast<std::uint32_t>(static_cast<std::uint64_t>(n) >> 32)};
  }

  /// Reserves up to three messages where as many are left, writes them last to first, commits them in order.
  bool send_some(std::size_t to) {
    struct Open {
      std::span<std::byte> space;
      std::size_t bytes;
      TestRandom random;
      comm::MessageHeader header;
    };
    std::vector<Open> open;
    const std::int64_t left = plan_.num_messages(transport_.rank(), RankId(to)) - sent_[to];
    const std::int64_t wanted = std::min<std::int64_t>(left, 1 + sent_[to] % 3);
    for (std::int64_t n = sent_[to]; n < sent_[to] + wanted; ++n) {
      TestRandom random = message_random(transport_.rank(), RankId(to), n);
      const std::size_t bytes = random.below(plan_.max_payload_bytes + 1);
      const auto space = transport_.try_reserve(RankId(to), bytes);
      if (space.empty()) break;
      const comm::MessageHeader header = header_of(random, n);
      open.push_back({space, bytes, random, header});
    }
    for (std::size_t i = open.size(); i-- > 0;) {
      for (std::size_t at = 0; at < open[i].bytes; at += 8) {
        const std::uint64_t word = open[i].random.next();
        std::memcpy(open[i].space.data() + at, &word, std::min<std::size_t>(8, open[i].bytes - at));
      }
    }
    for (const Open& message : open) transport_.commit(RankId(to), message.header, message.bytes);
    sent_[to] += static_cast<std::int64_t>(open.size());
    return !open.empty();
  }

  void check(RankId from, const comm::MessageHeader& header, std::span<const std::byte> payload) {
    const std::int64_t n = received_[from.idx()]++;
    const std::string name = "message " + std::to_string(n) + " from rank " + std::to_string(from.value) + " to rank " +
                             std::to_string(transport_.rank().value);
    if (n >= to_receive(from.idx())) throw TrafficError(name + " was never sent");
    TestRandom random = message_random(from, transport_.rank(), n);
    if (payload.size() != random.below(plan_.max_payload_bytes + 1)) throw TrafficError(name + " has a wrong size");
    if (!(header == header_of(random, n))) throw TrafficError(name + " has a wrong header");
    for (std::size_t at = 0; at < payload.size(); at += 8) {
      const std::uint64_t word = random.next();
      if (std::memcmp(payload.data() + at, &word, std::min<std::size_t>(8, payload.size() - at)) != 0) {
        throw TrafficError(name + " has wrong bytes at " + std::to_string(at));
      }
    }
  }

  comm::Transport& transport_;
  TrafficPlan plan_;
  TrafficHabits habits_;
  std::vector<std::int64_t> sent_, received_;  // [num_ranks]
  std::int64_t turn_idx_ = 0;
};

}  // namespace moebius::test
