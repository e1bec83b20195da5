// SPDX-License-Identifier: Apache-2.0
#include "ranks/expert_plan.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "engine_support.hpp"
#include "base/check.hpp"
#include "base/failure.hpp"
#include "io/placement_file.hpp"
#include "ranks/planner_comparison.hpp"

namespace moebius::ranks {
namespace {

policy::RankLayout colocated(int num_ranks) { return policy::decide_layout(num_ranks, LayoutMode::colocated, 0, 0); }

using ::testing::HasSubstr;

std::string file_of(const std::string& name) {
  const auto folder = std::filesystem::path(MOEBIUS_BINARY_DIR) / "tests/ranks/tmp";
  std::filesystem::create_directories(folder);
  return (folder / name).string();
}

std::string failure_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), ExitCode::bad_usage);
    return failure.what();
  }
  return "no failure";
}

/// Every expert somewhere, and some of them twice and more, without order.
io::PlacementFile random_placement(const ModelConfig& config, int num_ranks, int num_extra, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  io::PlacementFile file{.planner = "random", .num_experts = config.num_experts, .num_ranks = num_ranks, .expert = {}};
  for (int layer = 0; layer < config.num_layers; ++layer) {
    auto& ranks = file.expert.emplace_back(static_cast<std::size_t>(config.is_moe(LayerId(layer)) ? num_ranks : 0));
    if (ranks.empty()) continue;
    std::vector<int> experts;
    for (int e = 0; e < config.num_experts; ++e) experts.push_back(e);
    for (int i = 0; i < num_extra; ++i) experts.push_back(static_cast<int>(random() % static_cast<unsigned>(config.num_experts)));
    std::ranges::shuffle(experts, random);
    for (const int e : experts) ranks[random() % ranks.size()].push_back(e);
  }
  return file;
}

TEST(ExpertPlan, any_placement_gives_the_same_bits) {
  Job job;
  job.schedule.aging_ms = 1e9;
  const EngineRun alone = run_engines(golden_model(), job, 1, some_requests(), 1);
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    job.layout.mode = seed % 2 == 0 ? LayoutMode::colocated : LayoutMode::split;
    job.placement.file = file_of("random.json");
    job.layout.expert_ranks = seed % 2 == 0 ? 0 : 3;
    io::write_placement_file(job.placement.file, random_placement(golden_model().config, 3, static_cast<int>(seed), seed));
    const EngineRun run = run_engines(golden_model(), job, seed % 2 == 0 ? 3 : 5, some_requests(), seed);
    EXPECT_EQ(run.digest(), alone.digest()) << seed;
    EXPECT_EQ(run.rows_computed, run.pairs_sent);
  }
  job.placement.file.clear();
  for (const PlannerKind planner : {PlannerKind::round_robin, PlannerKind::speed_lpt}) {
    job.placement.planner = planner;
    job.placement.emulated_slowdown = {1.0, 3.0};
    EXPECT_EQ(run_engines(golden_model(), job, 4, some_requests(), 5).digest(), alone.digest()) << to_string(planner);
  }
}

TEST(ExpertPlan, replicas_and_their_routers_give_the_same_bits) {
  Job job;
  job.schedule.aging_ms = 1e9;
  const EngineRun alone = run_engines(golden_model(), job, 1, some_requests(), 1);
  for (const ReplicaRouterKind router : {ReplicaRouterKind::even, ReplicaRouterKind::metro, ReplicaRouterKind::fewest_first, ReplicaRouterKind::exact}) {
    for (const double knee_rows : {1.5, 1e9}) {
      job.replicas = {.ratio = 1.5, .router = router, .knee_rows = knee_rows};
      job.layout.mode = knee_rows < 2 ? LayoutMode::colocated : LayoutMode::split;
      const EngineRun run = run_engines(golden_model(), job, 4, some_requests(), 7);
      EXPECT_EQ(run.digest(), alone.digest()) << to_string(router) << " " << knee_rows;
      EXPECT_EQ(run.rows_computed, run.pairs_sent);
    }
  }
}

TEST(ExpertPlan, files_of_other_jobs_are_refused) {
  const ModelConfig& config = golden_model().config;
  Job job;
  job.placement.file = file_of("other.json");
  io::PlacementFile file = random_placement(config, 3, 0, 1);
  const auto message = [&](int num_ranks) {
    io::write_placement_file(job.placement.file, file);
    return failure_of([&] { (void)plan_experts(job, config, colocated(num_ranks)); });
  };
  EXPECT_THAT(message(3), "no failure");
  EXPECT_THAT(message(2), HasSubstr("other.json is of another job"));
  file.expert[0][0] = file.expert[0][1] = {};
  file.expert[0][2] = {0};
  EXPECT_THAT(message(3), HasSubstr("layer 0 cannot be used (expert 1 has no place)"));
  file.expert.pop_back();
  EXPECT_THAT(message(3), HasSubstr("is of another job"));
}

TEST(ExpertPlan, what_a_planner_lacks_is_said) {
  const ModelConfig& config = golden_model().config;
  Job job;
  job.placement.planner = PlannerKind::gem;
  EXPECT_THAT(failure_of([&] { (void)plan_experts(job, config, colocated(2)); }), HasSubstr("placement.planner is gem (it plans from loads"));
  job.placement.planner = PlannerKind::linear;
  job.placement.emulated_slowdown = {1, 2, 3};
  EXPECT_THAT(failure_of([&] { (void)plan_experts(job, config, colocated(2)); }), HasSubstr("placement.emulated_slowdown has 3 numbers (there are 2"));
  job.placement.emulated_slowdown = {1, 2};
  job.placement.profile = file_of("speeds.json");
  io::write_speed_profile(job.placement.profile, {.model_path = "m", .compute = "fp32", .node = {"a"}, .curves = {{{1, 1}}}});
  EXPECT_THAT(failure_of([&] { (void)plan_experts(job, config, colocated(2)); }), HasSubstr("speeds.json has 1 ranks (there are 2"));
  io::write_speed_profile(job.placement.profile, {.model_path = "m", .compute = "fp32", .node = {"a", "b"}, .curves = {{{1, 5}}, {{1, 7}}}});
  const auto curves = speed_curves(job, 2);
  EXPECT_EQ(curves[0].seconds(1), 5);
  EXPECT_EQ(curves[1].seconds(1), 14) << "the profile times what the job emulates";
  EXPECT_EQ(describe_slowdown(job, 3), "1 2 1");
  EXPECT_EQ(describe_slowdown(Job{}, 3), "none");
}

TEST(ExpertPlan, maps_survive_the_trip) {
  policy::LayerMap map(2, 2);
  map.set(0, 0, 1);
  map.set(1, 0, 0);
  const std::vector<policy::LayerMap> maps = {map, policy::LayerMap(2, 0), policy::LayerMap(2, 1)};
  EXPECT_EQ(maps_from_bytes(to_bytes(maps)), maps);
  auto cut = to_bytes(maps);
  cut.resize(cut.size() - 4);
  EXPECT_THROW((void)maps_from_bytes(cut), ContractError);
}

TEST(PlannerComparison, judges_each_planner_on_steps_it_has_seen_and_others) {
  const ModelConfig& config = golden_model().config;
  io::RoutingTrace trace{64, 24, config.num_layers, config.num_experts, {}};
  std::mt19937_64 random(3);
  for (int i = 0; i < 24 * config.num_layers * config.num_experts; ++i) {
    trace.rows.push_back(static_cast<std::int32_t>(random() % 30) + (i % config.num_experts < 2 ? 60 : 0));
  }
  Job job;
  job.placement.emulated_slowdown = {2.0, 1.0};
  const PlannerComparison comparison = compare_planners(job, config, trace, 2);
  EXPECT_EQ(comparison.seen_steps, 16);
  EXPECT_EQ(comparison.unseen_steps, 8);
  ASSERT_EQ(comparison.planners.size(), 7U);
  const PlannerResult &linear = comparison.planners.front(), &gem = comparison.planners.back();
  for (const PlannerResult& result : comparison.planners) {
    EXPECT_LE(gem.seen_s, result.seen_s * (1 + 1e-9)) << to_string(result.planner);
    EXPECT_EQ(result.maps.size(), static_cast<std::size_t>(config.num_layers));
    EXPECT_GT(result.unseen_s, 0);
  }
  EXPECT_LT(gem.unseen_s, linear.unseen_s) << "two hot experts on a slow rank are seen again";
  EXPECT_THAT(describe(comparison), HasSubstr("gem (GEM-style, reconstructed)"));
  EXPECT_THAT(describe(compare_planners(job, config, trace, 3)), HasSubstr("placement.planner is eplb_strict ("));
}

}  // namespace
}  // namespace moebius::ranks
