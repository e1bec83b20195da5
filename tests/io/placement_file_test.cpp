// SPDX-License-Identifier: Apache-2.0
#include "io/placement_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/io/input_support.hpp"

namespace moebius::io {
namespace {

using ::testing::HasSubstr;
using PlacementFileTest = FolderTest;

PlacementFile sample() {
  return {.planner = "gem \"x\"", .num_experts = 4, .num_ranks = 2, .expert = {{{0, 3}, {1, 2, 0}}, {}, {{3, 2, 1, 0}, {}}}};
}

SpeedProfile sample_profile() {
  return {.model_path = "models/ü", .compute = "bf16", .node = {"a", "b"}, .curves = {{{1, 0.125}, {8, 1e-7}}, {{2.5, 3}}}};
}

TEST_F(PlacementFileTest, what_is_written_is_read) {
  write_placement_file(folder_ / "p.json", sample());
  EXPECT_EQ(read_placement_file(folder_ / "p.json"), sample());
  write_speed_profile(folder_ / "s.json", sample_profile());
  EXPECT_EQ(read_speed_profile(folder_ / "s.json"), sample_profile());
  SpeedProfile with_costs = sample_profile();
  with_costs.costs = {.attention = {1e-6, 2e-7, 0, 3e-9}, .expert = {4, 5}, .shared = {6, 7}, .dense = {8, 9}, .head = {10, 11}, .link_in_node = {12, 13},
                      .link_between_nodes = {14, 15}};
  write_speed_profile(folder_ / "s.json", with_costs);
  EXPECT_EQ(read_speed_profile(folder_ / "s.json"), with_costs);
}

TEST_F(PlacementFileTest, what_is_wrong_is_named) {
  const auto placement = [&](const std::string& rest) {
    return failure_of([&] { read_placement_file(write("p.json", R"({"format": "moebius placement 1", "planner": "x")" + rest + "}")); }, ExitCode::bad_usage);
  };
  EXPECT_THAT(placement(R"(, "num_ranks": 2, "expert": [])"), HasSubstr("p.json: key num_experts is not right (it is missing)"));
  EXPECT_THAT(placement(R"(, "num_experts": 0, "num_ranks": 2, "expert": [])"), HasSubstr("key num_experts is not right (it must be an integer from 1"));
  EXPECT_THAT(placement(R"(, "num_experts": 4, "num_ranks": 2, "expert": [[[0]]])"), HasSubstr("key expert[0] is not right (it must be a list with an entry"));
  EXPECT_THAT(placement(R"(, "num_experts": 4, "num_ranks": 1, "expert": [[], [[4]]])"), HasSubstr("key expert[1] is not right (it must be an integer from 0 to 3)"));
  EXPECT_THAT(placement(R"(, "num_experts": 4, "num_ranks": 1, "expert": [[0]])"), HasSubstr("the entry of a rank must be a list"));
  EXPECT_THAT(failure_of([&] { read_placement_file(write("p.json", R"({"format": "moebius profile 1"})")); }, ExitCode::bad_usage), HasSubstr("key format"));
  const auto profile = [&](const std::string& ranks) {
    return failure_of([&] { read_speed_profile(write("s.json", R"({"format": "moebius profile 1", "model_path": "m", "compute": "fp32", "ranks": )" + ranks + "}")); },
                      ExitCode::bad_usage);
  };
  EXPECT_THAT(profile("[]"), HasSubstr("key ranks is not right (there are none)"));
  EXPECT_THAT(profile(R"([{"node": "a", "points": []}])"), HasSubstr("there are no points"));
  EXPECT_THAT(profile(R"([{"node": "a", "points": [[2, 1], [1, 1]]}])"), HasSubstr("rows must ascend"));
  EXPECT_THAT(profile(R"([{"node": "a", "points": [[1, -1]]}])"), HasSubstr("a number above 0"));
  EXPECT_THAT(profile(R"([{"node": "a", "points": [[1, 1]]}], "costs": {"attention": [1, 2, 3]})"), HasSubstr("key costs.attention is not right (it must have 4 numbers)"));
  EXPECT_THAT(profile(R"([{"node": "a", "points": [[1, 1]]}], "costs": {"attention": [1, 2, 3, -4]})"), HasSubstr("a number is never negative"));
  EXPECT_THAT(profile(R"([{"node": "a", "points": [[1, 1]]}], "costs": {"attention": [1, 2, 3, 4]})"), HasSubstr("key expert is not right"));
  EXPECT_THAT(failure_of([&] { read_placement_file(folder_ / "none"); }, ExitCode::bad_usage), HasSubstr("cannot open"));
}

TEST_F(PlacementFileTest, mutated_files_are_read_or_refused) {
  write_placement_file(folder_ / "p.json", sample());
  write_speed_profile(folder_ / "s.json", sample_profile());
  const auto text_of = [](const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string placement = text_of(folder_ / "p.json"), profile = text_of(folder_ / "s.json");
  std::mt19937_64 random(7);
  int refused = 0;
  for (int i = 0; i < 2000; ++i) {
    const auto path = write("m.json", mutate(i % 2 == 0 ? placement : profile, random, "[]{},:\"0-9.e"));
    try {
      if (i % 2 == 0) (void)read_placement_file(path);
      else (void)read_speed_profile(path);
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::bad_usage);
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace moebius::io
