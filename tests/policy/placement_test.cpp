// SPDX-License-Identifier: Apache-2.0
#include "policy/placement.hpp"

#include <gtest/gtest.h>

#include "base/check.hpp"

namespace moebius::policy {
namespace {

std::vector<RankId> some_ranks(int num_ranks, int first) {
  std::vector<RankId> ranks;
  for (int r = 0; r < num_ranks; ++r) ranks.emplace_back(first + 2 * r);  // not consecutive
  return ranks;
}

TEST(WholeModels, every_rank_has_every_expert_at_its_own_place) {
  const auto ranks = some_ranks(3, 1);
  const TablePlacement placement(whole_models({4, 0, 4}, 3), {4, 0, 4}, ranks);
  for (const RankId rank : ranks) {
    const auto hosted = placement.hosted(rank);
    ASSERT_EQ(hosted.size(), 8U);
    for (const HostedExpert& expert : hosted) EXPECT_EQ(expert.place.value, expert.expert.value);
  }
  for (int expert = 0; expert < 4; ++expert) EXPECT_EQ(placement.replicas(LayerId(2), ExpertId(expert)).size(), 3U);
}

TEST(LinearPlacement, host_and_hosted_are_inverse_and_runs_are_contiguous_and_balanced) {
  for (const int num_experts : {1, 2, 3, 7, 8, 16, 60, 64, 128, 256}) {
    for (const int num_ranks : {1, 2, 3, 4, 5, 7, 8, 16, 61, 300}) {
      SCOPED_TRACE(::testing::Message() << num_experts << " experts, " << num_ranks << " ranks");
      const auto ranks = some_ranks(num_ranks, 5);
      const LinearPlacement placement({num_experts, 0, num_experts + 1}, ranks);
      int next_expert = 0, shortest = num_experts, longest = 0;
      for (const RankId rank : ranks) {
        int count = 0;
        LayerId last_layer(0);
        for (const HostedExpert& hosted : placement.hosted(rank)) {
          EXPECT_EQ(placement.host(hosted.layer, hosted.expert), (PhysicalExpert{rank, hosted.place}));
          EXPECT_LE(last_layer, hosted.layer);
          EXPECT_NE(hosted.layer, LayerId(1));
          last_layer = hosted.layer;
          if (hosted.layer != LayerId(0)) continue;
          EXPECT_EQ(hosted.expert, ExpertId(next_expert++));  // contiguous, each exactly once
          EXPECT_EQ(hosted.place, PlaceId(count++));
        }
        shortest = std::min(shortest, count);
        longest = std::max(longest, count);
      }
      EXPECT_EQ(next_expert, num_experts);
      EXPECT_LE(longest - shortest, 1);
    }
  }
}

TEST(LinearPlacement, golden) {
  const LinearPlacement placement({8}, some_ranks(3, 0));  // ranks 0, 2, 4 host 3, 3, 2
  const std::vector<PhysicalExpert> expected = {{RankId(0), PlaceId(0)}, {RankId(0), PlaceId(1)}, {RankId(0), PlaceId(2)},
                                                {RankId(2), PlaceId(0)}, {RankId(2), PlaceId(1)}, {RankId(2), PlaceId(2)},
                                                {RankId(4), PlaceId(0)}, {RankId(4), PlaceId(1)}};
  for (int e = 0; e < 8; ++e) EXPECT_EQ(placement.host(LayerId(0), ExpertId(e)), expected[e]) << e;
  EXPECT_TRUE(placement.hosted(RankId(1)).empty()) << "not an expert rank";
}

TEST(LinearPlacement, refuses_what_does_not_exist) {
  const LinearPlacement placement({4, 0}, some_ranks(2, 0));
  EXPECT_THROW((void)placement.host(LayerId(0), ExpertId(4)), ContractError);
  EXPECT_THROW((void)placement.host(LayerId(0), ExpertId(-1)), ContractError);
  EXPECT_THROW((void)placement.host(LayerId(1), ExpertId(0)), ContractError);
  EXPECT_THROW((void)placement.host(LayerId(2), ExpertId(0)), ContractError);
  EXPECT_THROW(LinearPlacement({4}, {}), ContractError);
  EXPECT_THROW(LinearPlacement({4}, std::vector<RankId>(2, RankId(3))), ContractError);
}

TEST(TablePlacement, lists_replicas_by_rank_and_what_ranks_host_by_layer_and_place) {
  LayerMap map(2, 3);
  map.expert = {1, 0, -1, 0, 2, 0};
  const TablePlacement placement({LayerMap(2, 0), map}, {0, 3}, some_ranks(2, 3));
  const PhysicalExpert expected[] = {{RankId(3), PlaceId(1)}, {RankId(5), PlaceId(0)}, {RankId(5), PlaceId(2)}};
  const auto replicas = placement.replicas(LayerId(1), ExpertId(0));
  EXPECT_TRUE(std::equal(replicas.begin(), replicas.end(), std::begin(expected), std::end(expected)));
  EXPECT_EQ(placement.host(LayerId(1), ExpertId(0)), expected[0]);
  EXPECT_EQ(placement.hosted(RankId(3)), (std::vector<HostedExpert>{{LayerId(1), ExpertId(1), PlaceId(0)}, {LayerId(1), ExpertId(0), PlaceId(1)}}));
}

TEST(TablePlacement, says_what_is_wrong_with_a_map) {
  LayerMap map(2, 2);
  map.expert = {0, 1, 2, -1};
  EXPECT_EQ(problem_of(map, 3), "");
  EXPECT_EQ(problem_of(map, 4), "expert 3 has no place");
  EXPECT_EQ(problem_of(map, 2), "expert 2 at rank 1, place 0 does not exist");
  map.expert = {-1, 1, 0, 2};
  EXPECT_EQ(problem_of(map, 3), "there is an empty place before the expert at rank 0, place 1");
  map.expert.pop_back();
  EXPECT_EQ(problem_of(map, 3), "its size is not ranks times places");
  EXPECT_THROW(TablePlacement({map}, {3}, some_ranks(2, 0)), ContractError);
}

}  // namespace
}  // namespace moebius::policy
