// SPDX-License-Identifier: Apache-2.0
#include "policy/pipeline_search.hpp"

#include <gtest/gtest.h>

#include <array>
#include <random>

namespace moebius::policy {
namespace {

constexpr double close = 1e-9;

struct Affine {
  double alpha, beta;
};
/// attention, shared, dispatch, expert, combine
using FiveTimes = std::array<Affine, 5>;

PipelineCosts costs_of(const FiveTimes& times) {
  const auto cost = [](Affine time) { return [time](double samples) { return time.alpha + time.beta * samples; }; };
  return {.attention = cost(times[0]), .shared = cost(times[1]), .dispatch = cost(times[2]), .expert = cost(times[3]), .combine = cost(times[4])};
}

FiveTimes some_times(std::mt19937_64& random) {
  FiveTimes times;
  for (Affine& time : times) time = {static_cast<double>(random() % 8) / 4, static_cast<double>(1 + random() % 12) / 4};
  if (random() % 3 == 0) times[1] = {0, 0};  // no shared experts
  return times;
}

/// Every micro-batch size, number of micro-batches that fit, part count and order, each by the recurrence.
double best_by_brute_force(const PipelineSearch& search, const PipelineCosts& costs) {
  double best = 0;
  for (int samples = 1; samples <= search.max_samples; ++samples) {
    for (int r1 = 1; r1 * samples <= search.max_samples || search.fixed_samples > 0; ++r1) {
      if (search.fixed_samples > 0 && r1 * samples > search.fixed_samples) break;
      if (search.fixed_samples > 0 && r1 * samples != search.fixed_samples) continue;
      for (int r2 = 1; r2 <= samples * search.rows_per_sample; ++r2) {
        const double part = static_cast<double>(samples) / r2;
        const EvenPipeline even{.num_layers = search.num_layers, .r1 = r1, .r2 = r2, .attention_s = costs.attention(samples), .shared_s = costs.shared(samples),
                                .dispatch_s = costs.dispatch(part), .expert_s = costs.expert(part), .combine_s = costs.combine(part)};
        for (const PipelineOrder order : {PipelineOrder::asas, PipelineOrder::aass}) {
          best = std::max(best, r1 * samples / pipeline_makespan(search.num_layers, order, micro_batches_of(even)));
        }
      }
    }
  }
  return best;
}

TEST(PipelineSearch, FindsWhatBruteForceFinds) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 150; ++i) {
    const PipelineCosts costs = costs_of(some_times(random));
    const PipelineSearch search{.num_layers = static_cast<int>(1 + random() % 4), .max_samples = static_cast<int>(1 + random() % 24),
                                .rows_per_sample = static_cast<int>(1 + random() % 2)};
    const PipelineChoice choice = search_pipeline(search, costs);
    ASSERT_NEAR(choice.samples_per_s, best_by_brute_force(search, costs), close) << "case " << i;
    ASSERT_LE(choice.r1 * choice.samples, search.max_samples);
    ASSERT_LE(choice.r2, choice.samples * search.rows_per_sample);
  }
}

TEST(PipelineSearch, DividesAFixedSetOfRequests) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 100; ++i) {
    const PipelineCosts costs = costs_of(some_times(random));
    PipelineSearch search{.num_layers = 3, .max_samples = static_cast<int>(1 + random() % 12), .fixed_samples = static_cast<int>(1 + random() % 24)};
    const PipelineChoice choice = search_pipeline(search, costs);
    ASSERT_EQ(choice.r1 * choice.samples, search.fixed_samples);
    ASSERT_LE(choice.samples, search.max_samples);
    ASSERT_NEAR(choice.samples_per_s, best_by_brute_force(search, costs), close) << "case " << i;
  }
}

TEST(PipelineSearch, NeverGetsSlowerWithFasterPartsOrMoreMemory) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 300; ++i) {
    FiveTimes times = some_times(random);
    PipelineSearch search{.num_layers = 4, .max_samples = static_cast<int>(1 + random() % 24)};
    const double before = search_pipeline(search, costs_of(times)).samples_per_s;
    ++search.max_samples;
    ASSERT_GE(search_pipeline(search, costs_of(times)).samples_per_s + close, before * search.max_samples / (search.max_samples + 1));
    --search.max_samples;
    Affine& faster = times[random() % times.size()];
    (random() % 2 == 0 ? faster.alpha : faster.beta) *= 0.5;
    ASSERT_GE(search_pipeline(search, costs_of(times)).samples_per_s + close, before) << "case " << i;
  }
}

TEST(PipelineSearch, PingPongIsAPipelineOfWholeMicroBatches) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 200; ++i) {
    const PipelineCosts costs = costs_of(some_times(random));
    const PipelineSearch search{.num_layers = 4, .max_samples = static_cast<int>(1 + random() % 24)};
    const PipelineChoice pingpong = search_pingpong(search, costs);
    ASSERT_EQ(pingpong.r2, 1);
    ASSERT_EQ(pingpong.order, PipelineOrder::fused);
    const EvenPipeline even{.num_layers = 4, .r1 = pingpong.r1, .attention_s = costs.attention(pingpong.samples), .shared_s = costs.shared(pingpong.samples),
                            .dispatch_s = costs.dispatch(pingpong.samples), .expert_s = costs.expert(pingpong.samples), .combine_s = costs.combine(pingpong.samples)};
    ASSERT_NEAR(pingpong.makespan_s, pipeline_makespan(4, PipelineOrder::fused, micro_batches_of(even)), close);
    ASSERT_GE(search_pipeline(search, costs).samples_per_s + close, pingpong.samples_per_s) << "case " << i;
  }
}

TEST(PipelineSearch, TakesPartsOnlyWhereTheyPay) {
  // Without a cost of their own, parts hide the links; with one that is larger than what they hide, one part is best.
  const PipelineSearch search{.num_layers = 8, .max_samples = 4, .rows_per_sample = 16};
  const FiveTimes free{{{0, 1}, {0, 0}, {0, 1}, {0, 1}, {0, 1}}};
  EXPECT_GT(search_pipeline(search, costs_of(free)).r2, 1);
  const FiveTimes dear{{{0, 1}, {0, 0}, {9, 1}, {9, 1}, {9, 1}}};
  EXPECT_EQ(search_pipeline(search, costs_of(dear)).r2, 1);
}

TEST(PipelineSearch, LooksAtFewSchedules) {
  // The largest published shapes: 94 layers, prompts of 8192 tokens, times like those of an H100 or A100 on three links.
  std::mt19937_64 random(5);
  for (int i = 0; i < 30; ++i) {
    FiveTimes times{{{20e-6, 900e-6}, {5e-6, 100e-6}, {8e-6, 400e-6}, {60e-6, 700e-6}, {8e-6, 800e-6}}};
    for (Affine& time : times) time.beta *= static_cast<double>(1 + random() % 30) / 10;
    for (const int max_samples : {8, 64, 256}) {
      const PipelineChoice choice = search_pipeline({.num_layers = 94, .max_samples = max_samples, .rows_per_sample = 8192}, costs_of(times));
      // A closed form takes some tens of nanoseconds, a recurrence some tens of microseconds.
      ASSERT_LT(choice.num_evaluations, 200'000) << max_samples;
      ASSERT_LT(choice.num_recurrences, 10'000) << max_samples;
    }
  }
}

TEST(PipelineSearch, MakespanOfManyLayersIsThatOfTheWholeSchedule) {
  std::mt19937_64 random(6);
  for (int i = 0; i < 300; ++i) {
    std::vector<MicroBatchTimes> batches(1 + random() % 5);
    for (MicroBatchTimes& batch : batches) {
      batch = {.attention_s = static_cast<double>(random() % 9) / 8, .shared_s = static_cast<double>(random() % 9) / 8, .parts = {}};
      batch.parts.resize(1 + random() % 4);
      for (PartTimes& part : batch.parts) {
        part = {.dispatch_s = static_cast<double>(random() % 9) / 8, .expert_s = static_cast<double>(random() % 9) / 8, .combine_s = static_cast<double>(random() % 9) / 8};
      }
    }
    const PipelineOrder order = i % 2 == 0 ? PipelineOrder::asas : PipelineOrder::aass;
    ASSERT_NEAR(pipeline_makespan(60, order, batches), schedule_pipeline(60, order, batches).makespan_s, close) << "case " << i;
  }
}

}  // namespace
}  // namespace moebius::policy
