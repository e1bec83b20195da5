// SPDX-License-Identifier: Apache-2.0
// Which rows an expert rank shows to its scheduler, and what leaves it when, with rows that the test puts there itself.
#include "ranks/expert_side.hpp"

#include <gtest/gtest.h>

#include <vector>

#include "engine_support.hpp"

namespace moebius::ranks {
namespace {

constexpr int num_places = 4, capacity = 16;
constexpr RankId self(0), first(1), second(2);

/// Rank 0 has four experts of each layer; ranks 1 and 2 send it rows, that stay where they are.
class ExpertSideTest : public ::testing::Test {
 protected:
  ExpertSideTest() {
    for (const RankId source : {first, second}) side_.reach(source, rows_);
    send(first, 0, {0}, 1);  // so that a call has been measured
    side_.run_layer(0, clock_);
    send(second, 0, {0}, 1);
    side_.run_layer(0, clock_);
    side_.show_held(2, 5);
  }

  static std::vector<model::HostedExpert> hosted() {
    std::vector<model::HostedExpert> all;
    for (int layer = 0; layer < golden_model().config.num_layers; ++layer) {
      for (int expert = 0; expert < num_places; ++expert) all.push_back({LayerId(layer), ExpertId(expert)});
    }
    return all;
  }
  static ExpertSideOptions options() {
    ExpertSideOptions options{.compute = ComputeType::fp32, .hidden_size = golden_model().config.hidden_size, .num_experts = golden_model().config.num_experts,
                              .max_rows_per_call = 64, .max_rows_stored = 0, .num_sources = 2, .layer_before = {}};
    for (int layer = 0; layer < golden_model().config.num_layers; ++layer) options.layer_before.push_back(layer - 1);
    return options;
  }

  /// A row for each of these places, at time `now`.
  void send(RankId from, int layer, const std::vector<int>& places, double now) {
    std::vector<RowPair> pairs;
    for (const int place : places) pairs.push_back({{static_cast<RowTag>(pairs.size()), 0}, place});
    side_.on_dispatch_in_place(from, {.kind = static_cast<std::uint16_t>(BlockKind::dispatch_in_place), .layer = static_cast<std::uint16_t>(layer),
                                      .generation = 0, .num_rows = 0, .num_pairs = static_cast<std::uint32_t>(pairs.size())},
                               std::as_bytes(std::span(pairs)), now);
  }
  [[nodiscard]] std::int64_t shown(int layer) const { return table_.stage_rows(layer); }

  comm::LoopbackNetwork network_{3, {.slot_bytes = 4096, .num_slots = 16}, [](RankId, RankId) { return true; }};
  std::vector<std::byte> memory_ = std::vector<std::byte>(model::RowExchange::bytes(golden_model().config, ComputeType::fp32, capacity) + 64);
  model::RowExchange rows_{golden_model().config, ComputeType::fp32, capacity, memory_.data() + (64 - reinterpret_cast<std::uintptr_t>(memory_.data()) % 64)};
  model::ExpertStack stack_{golden_model().config, ComputeType::fp32, golden_model().tensors, hosted(), 64, {}};
  policy::QueueTable table_{std::vector<int>(static_cast<std::size_t>(golden_model().config.num_layers), num_places)};
  PhaseClock clock_;
  StagePace pace_;
  Outbox outbox_{network_.endpoint(self)};
  ExpertSide side_{options(), stack_, StageMap(Roles::expert), table_, outbox_, pace_, network_.endpoint(self).max_payload_bytes()};
};

TEST_F(ExpertSideTest, FewRowsWaitForASourceThatWasSeenAtTheLayerBefore) {
  send(first, 1, {0}, 2);
  EXPECT_EQ(shown(1), 0);
  side_.show_held(6.9, 5);
  EXPECT_EQ(shown(1), 0);
  send(second, 1, {2}, 6.9);
  EXPECT_EQ(shown(1), 2);
  EXPECT_EQ(table_.rows({1, 0}), 1);
  EXPECT_EQ(table_.rows({1, 2}), 1);
  EXPECT_EQ(side_.run_layer(1, clock_), 2);
  EXPECT_EQ(shown(1), 0);
}

TEST_F(ExpertSideTest, TheyWaitNoLongerThanThePatience) {
  send(first, 1, {0}, 2);
  side_.show_held(7.1, 5);
  EXPECT_EQ(shown(1), 1);
}

TEST_F(ExpertSideTest, NothingWaitsWithoutPatienceNorForASourceThatHasEnded) {
  side_.show_held(2, 0);
  send(first, 1, {0}, 2);
  EXPECT_EQ(shown(1), 1);
  side_.run_layer(1, clock_);
  side_.show_held(2, 5);
  side_.on_fin(second);
  send(first, 1, {0}, 2);
  EXPECT_EQ(shown(1), 1);
}

// As many rows as there are experts take, by the only call so far, as long as reading the weights of all of them.
TEST_F(ExpertSideTest, RowsThatFillAPassDoNotWait) {
  send(first, 1, {0, 1, 2}, 2);
  EXPECT_EQ(shown(1), 0);
  send(first, 1, {0, 1, 2, 3, 0, 1, 2, 3}, 2);
  EXPECT_EQ(shown(1), 11);
}

TEST_F(ExpertSideTest, OutputsOfASourceLeaveInOneMessage) {
  const auto sent = [&] { return network_.endpoint(self).counters().messages_sent; };
  const auto before = sent();
  send(first, 1, {0, 1, 3}, 2);
  send(second, 1, {0, 2}, 2);
  EXPECT_EQ(side_.run_layer(1, clock_), 5);
  EXPECT_EQ(sent() - before, 2);
}

}  // namespace
}  // namespace moebius::ranks
