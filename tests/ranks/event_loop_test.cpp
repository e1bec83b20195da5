// SPDX-License-Identifier: Apache-2.0
// What a turn of the loop owes to the others, seen from a transport that only counts.
#include "ranks/event_loop.hpp"

#include <gtest/gtest.h>

#include <array>
#include <memory>

namespace moebius::ranks {
namespace {

class CountingTransport final : public comm::Transport {
 public:
  [[nodiscard]] RankId rank() const override { return RankId(0); }
  [[nodiscard]] int num_ranks() const override { return 2; }
  [[nodiscard]] std::size_t max_payload_bytes() const override { return 64; }
  std::span<std::byte> try_reserve(RankId, std::size_t bytes) override {
    ++calls_of_reserve;
    return has_credit ? std::span(slot_).first(bytes) : std::span<std::byte>{};
  }
  void commit(RankId, const comm::MessageHeader&, std::size_t) override { ++num_unpublished; }
  void flush() override { num_unpublished = 0; }
  std::size_t drain(const comm::MessageHandler&, std::size_t) override {
    ++calls_of_drain;
    return 0;
  }
  void progress() override { ++calls_of_progress; }
  [[nodiscard]] const comm::TransportCounters& counters() const override { return counters_; }

  bool has_credit = true;
  int calls_of_reserve = 0, calls_of_drain = 0, calls_of_progress = 0, num_unpublished = 0;

 private:
  std::array<std::byte, 64> slot_{};
  comm::TransportCounters counters_;
};

/// A loop without roles: only its duties to other ranks are left.
class EventLoopTest : public ::testing::Test {
 protected:
  CountingTransport transport_;
  Outbox outbox_{transport_};
  policy::QueueTable table_{{1}};
  std::unique_ptr<policy::Scheduler> scheduler_ = policy::make_scheduler({});
  PhaseClock clock_;
  StagePace pace_;
  Arrivals arrivals_;
  LoopStatus last_;
  EventLoop loop_{EventLoop::Parts{.transport = transport_, .outbox = outbox_, .scheduler = *scheduler_, .table = table_, .clock = clock_, .pace = pace_, .arrivals = arrivals_,
                                   .stages = StageMap(Roles::expert), .attention = nullptr, .experts = nullptr, .expert_ranks = {}},
                  [this](const LoopStatus& status) { last_ = status; }};
};

TEST_F(EventLoopTest, EveryTurnReceivesAndLetsMpiProgressAlsoWithNothingToDo) {
  for (int turn = 1; turn <= 5; ++turn) {
    loop_.turn();
    EXPECT_EQ(transport_.calls_of_drain, turn);
    EXPECT_EQ(transport_.calls_of_progress, turn);
    EXPECT_EQ(last_.phase, Phase::idle);
  }
}

TEST_F(EventLoopTest, AFullRingIsReportedAsWhoIsWaitedForAndDrainedLater) {
  transport_.has_credit = false;
  outbox_.send(RankId(1), {.kind = 1}, 8, [](std::span<std::byte>) {});
  loop_.turn();
  EXPECT_EQ(last_.phase, Phase::dispatch_wait);
  EXPECT_EQ(last_.waits_for, RankId(1));
  EXPECT_FALSE(loop_.finished());
  transport_.has_credit = true;
  loop_.turn();
  EXPECT_EQ(transport_.num_unpublished, 0) << "a turn ends with everything published";
  EXPECT_FALSE(last_.waits_for.valid());
  EXPECT_TRUE(loop_.finished());
}

}  // namespace
}  // namespace moebius::ranks
