// SPDX-License-Identifier: Apache-2.0
#include "comm/peer_memory.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "base/check.hpp"
#include "base/clock.hpp"

namespace moebius::comm {
namespace {

constexpr std::size_t num_numbers = 5000;

/// Ranks differ in how much they give.
std::size_t bytes_of(RankId rank) { return 64 + num_numbers * sizeof(std::uint64_t) + static_cast<std::size_t>(rank.value) * 100; }

std::uint64_t read_word(PeerMemory& memory, RankId rank) {
  std::uint64_t word = 0;
  const auto read = memory.start_read(rank, 0, std::as_writable_bytes(std::span(&word, 1)));
  const double deadline_s = now_s() + 20;
  while (!memory.finished(read) && now_s() < deadline_s) std::this_thread::yield();
  return word;
}

/// Each rank stores numbers and then a word; whoever reads the word finds the numbers.
void expect_numbers_behind_words(Session& session, FastPath path) {
  PeerMemory memory(session, bytes_of(session.rank()), path);
  EXPECT_EQ(memory.own().size(), bytes_of(session.rank()));
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory.own().data()) % 64, 0U);
  if (path == FastPath::off || session.num_ranks() == 1) { EXPECT_FALSE(memory.loads_directly()); }
  std::memset(memory.own().data(), 0, memory.own().size());
  memory.publish(session);
  for (std::uint64_t round = 1; round <= 20; ++round) {
    std::vector<std::uint64_t> numbers(num_numbers);
    for (std::size_t i = 0; i < num_numbers; ++i) numbers[i] = round * 1000000 + i + static_cast<std::uint64_t>(session.rank().value);
    std::memcpy(memory.own().data() + 64, numbers.data(), numbers.size() * sizeof(std::uint64_t));
    memory.store_word(0, round);
    const RankId peer((session.rank().value + 1) % session.num_ranks());
    while (read_word(memory, peer) < round) std::this_thread::yield();
    std::vector<std::uint64_t> found(num_numbers);
    const auto bytes = std::as_writable_bytes(std::span(found));
    const auto first = memory.start_read(peer, 64, bytes.first(num_numbers * 4));  // two at once
    const auto second = memory.start_read(peer, 64 + num_numbers * 4, bytes.subspan(num_numbers * 4));
    for (const auto read : {first, second}) {
      while (!memory.finished(read)) std::this_thread::yield();
    }
    for (std::size_t i = 0; i < num_numbers; ++i) ASSERT_EQ(found[i], round * 1000000 + i + static_cast<std::uint64_t>(peer.value));
    session.barrier();  // nobody writes what is still being read
  }
  EXPECT_THROW((void)memory.start_read(session.rank(), bytes_of(session.rank()) - 4, memory.own().first(8)), ContractError);
  memory.close();
}

TEST(PeerMemory, WhoSeesAWordSeesWhatWasStoredBefore) {
  Session session;
  expect_numbers_behind_words(session, FastPath::on);
  expect_numbers_behind_words(session, FastPath::off);
  session.finalize();
}

TEST(PeerMemory, InOneProcessAReadCopiesWhenItIsFinished) {
  alignas(64) std::byte bytes[2][64] = {};
  const std::vector<std::span<std::byte>> memories{bytes[0], bytes[1]};
  PeerMemory first(RankId(0), memories), second(RankId(1), memories);
  std::vector<std::byte> to(16);
  const auto read = first.start_read(RankId(1), 8, to);
  second.store_word(8, 7);
  EXPECT_TRUE(first.finished(read));
  EXPECT_EQ(to[0], std::byte{7});
}

}  // namespace
}  // namespace moebius::comm
