// SPDX-License-Identifier: Apache-2.0
#include "ranks/part_queue.hpp"

#include <gtest/gtest.h>

#include <numeric>

#include "ranks/wire.hpp"

namespace moebius::ranks {
namespace {

enum class End : std::uint8_t { more, last };

class PartQueueTest : public ::testing::Test {
 protected:
  /// The parts that the next part was put together of, "source/micro-batch.part" each.
  std::string take_sources() {
    std::string text;
    for (const auto& [source, part] : parts.take().sources) {
      text.append(std::to_string(source.value)).append("/").append(std::to_string(part.micro_batch)).append(".").append(std::to_string(part.part)).append(" ");
    }
    return text;
  }
  /// A block in place, with a pair for each place.
  void add(int source, int layer, const std::vector<std::int32_t>& places, End end) {
    std::vector<RowPair> pairs;
    for (const std::int32_t place : places) pairs.push_back({{0, 0}, place});
    parts.add(RankId(source), header(BlockKind::dispatch_in_place, layer, 0, places.size(), end), std::as_bytes(std::span(pairs)));
  }
  /// A block with a row for each place.
  void add_rows(int source, int layer, const std::vector<std::int32_t>& places, End end) {
    const BlockLayout layout = dispatch_layout(places.size(), places.size(), 64);
    std::vector<std::byte> block(layout.total_bytes);
    for (std::size_t i = 0; i < places.size(); ++i) {
      store_at(std::span<std::byte>(block), layout.pairs_offset, i, ExpertPair{static_cast<std::uint16_t>(i), 0, places[i]});
    }
    parts.add(RankId(source), header(BlockKind::dispatch, layer, places.size(), places.size(), end), block);
  }
  PartTag tag{};
  [[nodiscard]] comm::MessageHeader header(BlockKind kind, int layer, std::size_t rows, std::size_t pairs, End end) const {
    return {.kind = static_cast<std::uint16_t>(static_cast<std::uint16_t>(kind) | (end == End::last ? part_end : 0)),
            .layer = static_cast<std::uint16_t>(layer),
            .num_rows = static_cast<std::uint32_t>(rows),
            .num_pairs = static_cast<std::uint32_t>(pairs),
            .micro_batch = tag.micro_batch,
            .part = tag.part};
  }
  /// "layer: place x rows, ..." of the next part.
  std::string take() {
    const PartQueue::Part part = parts.take();
    std::string text = std::to_string(part.layer) + ":";
    for (const auto& share : part.shares) text.append(" ").append(std::to_string(share.place.value)).append("x").append(std::to_string(share.num_rows));
    for (const auto& share : part.shares) EXPECT_EQ(share.num_rows, std::accumulate(share.rows_of.begin(), share.rows_of.end(), std::int64_t{0}, [](std::int64_t sum, const SourceRows& rows) { return sum + rows.num_rows; }));
    return text;
  }
  PartQueue parts;
};

TEST_F(PartQueueTest, PartsAreWholeWithTheirLastBlockAndGoInThatOrder) {
  add(0, 3, {1, 1, 0}, End::more);
  EXPECT_TRUE(parts.empty());
  add(1, 2, {5}, End::last);
  add(0, 3, {1, 7}, End::last);
  EXPECT_EQ(take(), "2: 5x1");
  EXPECT_EQ(take(), "3: 0x1 1x3 7x1");
  EXPECT_TRUE(parts.empty());
}

TEST_F(PartQueueTest, BlocksWithRowsCountAlike) {
  add_rows(0, 1, {2, 0, 2}, End::more);
  add_rows(0, 1, {4}, End::last);
  EXPECT_EQ(take(), "1: 0x1 2x2 4x1");
}

TEST_F(PartQueueTest, OnePartOfEachSourceJoinsAnotherOfItsLayer) {
  add(0, 4, {0}, End::last);
  add(0, 4, {0, 0}, End::last);       // the next part of the same source waits for its turn
  add(2, 4, {1}, End::last);
  add(1, 5, {9}, End::last);          // another layer
  add(1, 4, {0, 3}, End::more);       // not whole yet
  EXPECT_EQ(take(), "4: 0x1 1x1");
  EXPECT_EQ(take(), "4: 0x2");
  EXPECT_EQ(take(), "5: 9x1");
  EXPECT_TRUE(parts.empty());
}

TEST_F(PartQueueTest, SaysHowManyRowsOfEachSourceAPlaceHas) {
  add(1, 4, {3, 3}, End::last);
  add(0, 4, {3, 0}, End::last);
  const PartQueue::Part part = parts.take();
  ASSERT_EQ(part.shares.size(), 2U);
  EXPECT_EQ(part.shares[0].rows_of.size(), 1U);
  ASSERT_EQ(part.shares[1].rows_of.size(), 2U);
  EXPECT_EQ(part.shares[1].rows_of[0].source, RankId(1));
  EXPECT_EQ(part.shares[1].rows_of[0].num_rows, 2);
  EXPECT_EQ(part.shares[1].rows_of[1].num_rows, 1);
}

TEST_F(PartQueueTest, SaysWhichPartsItTook) {
  tag = {7, 1};
  add(0, 4, {0}, End::last);
  tag = {7, 2};
  add(0, 4, {1}, End::last);
  tag = {3, 0};
  add(2, 4, {1}, End::more);
  add(2, 4, {5}, End::last);
  EXPECT_EQ(take_sources(), "0/7.1 2/3.0 ");
  EXPECT_EQ(take_sources(), "0/7.2 ");
}

}  // namespace
}  // namespace moebius::ranks
