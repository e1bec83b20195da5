// SPDX-License-Identifier: Apache-2.0
#include "policy/placement_book.hpp"

#include <gtest/gtest.h>

#include "base/check.hpp"
#include "policy/placement_planners.hpp"

namespace moebius::policy {
namespace {

/// Two layers of 6 experts on 3 ranks, a dense one between them.
std::vector<LayerMap> some_maps() {
  const LayerMap linear = linear_map(one_replica_each(6), 3);
  return {linear, LayerMap(3, 0), linear};
}

TEST(PlacementBook, counts_parts_by_layer_and_place_and_has_spare_ones) {
  const PlacementBook book(some_maps(), 2);
  EXPECT_EQ(book.num_places(), 4);
  EXPECT_EQ(book.map(0).num_places, 4);
  EXPECT_EQ(book.map(1).num_places, 0);
  EXPECT_EQ(book.map(2).at(1, 1), 3);
  EXPECT_EQ(book.map(2).at(1, 2), -1);
  EXPECT_EQ(book.part(0, 1, 0), 0);
  EXPECT_EQ(book.part(0, 1, 1), 1);
  EXPECT_EQ(book.part(2, 1, 0), 2);
  EXPECT_EQ(book.num_free_parts(1), 2);
  EXPECT_EQ(book.free_place(0, 1), 2);
  EXPECT_EQ(book.free_place(0, 1, 1), 3);
  EXPECT_EQ(book.free_place(0, 1, 2), -1);
  EXPECT_TRUE(book.holds(0, 1, 3));
  EXPECT_FALSE(book.holds(0, 1, 4));
}

// Expert 0 goes to rank 1, 2 to rank 2, 4 to rank 0: with one spare part each, since all old ones stay until the end.
TEST(PlacementBook, a_cycle_takes_one_spare_part_of_each_rank_and_gives_it_back) {
  PlacementBook book(some_maps(), 1);
  const std::vector<ExpertMove> cycle{{0, 0, 0, 0, 1, 2}, {0, 2, 1, 0, 2, 2}, {0, 4, 2, 0, 0, 2}};
  book.begin(cycle);
  EXPECT_TRUE(book.is_changing());
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(book.num_free_parts(rank), 0);
    EXPECT_EQ(book.part(0, rank, 0), 0) << "rows may be on their way to the old place";
    EXPECT_EQ(book.part(0, rank, 2), 4);
    EXPECT_EQ(book.free_place(0, rank), -1);
  }
  EXPECT_EQ(book.map(0).at(1, 2), 0);
  EXPECT_EQ(book.map(0).at(0, 0), -1);
  EXPECT_EQ(problem_of(book.map(0), 6, Gaps::allowed), "");
  EXPECT_NE(problem_of(book.map(0), 6), "");
  EXPECT_THROW(book.begin(cycle), ContractError);
  book.end();
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_EQ(book.num_free_parts(rank), 1);
    EXPECT_EQ(book.free_place(0, rank), 0);
  }
  book.begin(std::vector<ExpertMove>{{2, 1, 0, 1, 1, 2}});
  EXPECT_EQ(book.part(2, 1, 2), 0) << "the part that layer 0 gave back";
  book.end();
  EXPECT_EQ(book.num_free_parts(0), 2);
  EXPECT_EQ(book.num_free_parts(1), 0);
}

TEST(PlacementBook, refuses_moves_that_cannot_be) {
  PlacementBook book(some_maps(), 1);
  EXPECT_THROW(book.begin(std::vector<ExpertMove>{{0, 1, 0, 0, 1, 2}}), ContractError);  // another expert is there
  PlacementBook second(some_maps(), 1);
  EXPECT_THROW(second.begin(std::vector<ExpertMove>{{0, 0, 0, 0, 1, 1}}), ContractError);  // the place is taken
  PlacementBook third(some_maps(), 1);
  EXPECT_THROW(third.begin(std::vector<ExpertMove>{{0, 0, 0, 0, 2, 2}, {2, 2, 1, 0, 2, 2}}), ContractError);  // one part for two
  EXPECT_THROW(PlacementBook(some_maps(), 1).end(), ContractError);
}

}  // namespace
}  // namespace moebius::policy
