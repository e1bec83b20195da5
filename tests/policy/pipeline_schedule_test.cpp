// SPDX-License-Identifier: Apache-2.0
#include "policy/pipeline_schedule.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "policy/pipeline_check.hpp"

namespace moebius::policy {
namespace {

constexpr double close = 1e-9;

/// Small whole times, so that ties are frequent; zero now and then.
double some_time(std::mt19937_64& random) { return static_cast<double>(random() % 12) / 2; }

EvenPipeline some_even(std::mt19937_64& random) {
  EvenPipeline even;
  even.num_layers = static_cast<int>(1 + random() % 6);
  even.r1 = static_cast<int>(1 + random() % 6);
  even.r2 = static_cast<int>(1 + random() % 6);
  for (double* time : {&even.attention_s, &even.shared_s, &even.dispatch_s, &even.expert_s}) *time = 0.1 + some_time(random);
  even.combine_s = even.dispatch_s;
  return even;
}

std::vector<MicroBatchTimes> some_uneven(std::mt19937_64& random) {
  std::vector<MicroBatchTimes> batches(1 + random() % 5);
  const bool has_shared = random() % 3 != 0;
  for (MicroBatchTimes& batch : batches) {
    batch.attention_s = some_time(random);
    if (has_shared) batch.shared_s = some_time(random);
    batch.parts.resize(random() % 5);
    for (PartTimes& part : batch.parts) {
      part = {.dispatch_s = some_time(random), .expert_s = some_time(random), .combine_s = some_time(random), .empty = random() % 4 == 0};
    }
  }
  return batches;
}

/// Every task as late as its latest cause, found by passing over all pairs of tasks: no resource variables, no order of
/// placement. Relaxes until nothing moves. The oracle of the recurrence.
double makespan_by_relaxation(const PipelineSchedule& schedule, PipelineOrder order) {
  std::vector<ScheduledTask> tasks = schedule.tasks;
  for (ScheduledTask& task : tasks) {
    task.end_s -= task.begin_s;
    task.begin_s = 0;  // end_s is the duration now
  }
  const auto is_attention = [](TaskKind kind) { return kind == TaskKind::attention || kind == TaskKind::shared; };
  const auto turn = [&](const ScheduledTask& t) {
    const bool shared = t.kind == TaskKind::shared;
    return std::tuple(t.layer, is_attention(t.kind) && order == PipelineOrder::aass && shared, t.micro_batch, is_attention(t.kind) ? shared : false, t.part);
  };
  const auto follows = [&](const ScheduledTask& a, const ScheduledTask& b) {  // b waits for a
    const bool same_resource = a.kind == b.kind || (is_attention(a.kind) && is_attention(b.kind));
    if (same_resource) return turn(a) < turn(b);
    if (a.micro_batch != b.micro_batch) return false;
    if (b.kind == TaskKind::attention) return a.layer == b.layer - 1 && a.kind == TaskKind::combine;
    if (a.layer != b.layer) return false;
    if (a.kind == TaskKind::attention) return b.kind == TaskKind::dispatch;
    return a.part == b.part && ((a.kind == TaskKind::dispatch && b.kind == TaskKind::expert) || (a.kind == TaskKind::expert && b.kind == TaskKind::combine));
  };
  double makespan = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (const ScheduledTask& a : tasks) {
      makespan = std::max(makespan, a.begin_s + a.end_s);
      for (ScheduledTask& b : tasks) {
        if (!follows(a, b) || b.begin_s + close >= a.begin_s + a.end_s) continue;
        b.begin_s = a.begin_s + a.end_s;
        moved = true;
      }
    }
  }
  return makespan;
}

TEST(PipelineSchedule, ClosedFormIsTheRecurrence) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 10'000; ++i) {
    const EvenPipeline even = some_even(random);
    ASSERT_NEAR(asas_makespan(even), pipeline_makespan(even.num_layers, PipelineOrder::asas, micro_batches_of(even)), close) << "case " << i;
  }
}

TEST(PipelineSchedule, ClosedFormHoldsWithLinksOfTwoSpeeds) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 10'000; ++i) {
    EvenPipeline even = some_even(random);
    even.combine_s = some_time(random);
    ASSERT_NEAR(asas_makespan(even), pipeline_makespan(even.num_layers, PipelineOrder::asas, micro_batches_of(even)), close) << "case " << i;
  }
}

TEST(PipelineSchedule, PrintedEquationIsWrongWhereverThereAreParts) {
  std::mt19937_64 random(3);
  int wrong = 0, num_cases = 10'000;
  for (int i = 0; i < num_cases; ++i) {
    const EvenPipeline even = some_even(random);
    const double truth = pipeline_makespan(even.num_layers, PipelineOrder::asas, micro_batches_of(even));
    const bool differs = std::abs(asas_makespan_as_printed(even) - truth) > close;
    ASSERT_EQ(differs, even.r2 > 1);
    wrong += differs ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(wrong) / num_cases, 0.83, 0.02);  // r2 from 1 to 6: five of six
}

TEST(PipelineSchedule, RecurrenceIsTheEarliestThatPrecedenceAllows) {
  std::mt19937_64 random(4);
  for (int i = 0; i < 300; ++i) {
    const auto batches = some_uneven(random);
    for (const PipelineOrder order : {PipelineOrder::asas, PipelineOrder::aass}) {
      const PipelineSchedule schedule = schedule_pipeline(static_cast<int>(1 + random() % 3), order, batches);
      ASSERT_NEAR(schedule.makespan_s, makespan_by_relaxation(schedule, order), close) << "case " << i;
    }
  }
}

TEST(PipelineSchedule, PlannedSchedulesBreakNoRule) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 1'000; ++i) {
    const auto batches = some_uneven(random);
    for (const PipelineOrder order : {PipelineOrder::asas, PipelineOrder::aass}) {
      const PipelineSchedule schedule = schedule_pipeline(3, order, batches);
      const auto broken = check_schedule(schedule.tasks, {.tolerance_s = close, .order = order});
      ASSERT_TRUE(broken.empty()) << broken.front();
      ASSERT_EQ(schedule.makespan_s, pipeline_makespan(3, order, batches));
    }
  }
}

TEST(PipelineSchedule, EmptyPartsHaveNoTasksAndNoSharedExpertsNone) {
  const std::vector<MicroBatchTimes> batches{{.attention_s = 2, .shared_s = 0, .parts = {{1, 1, 1, true}, {1, 3, 1, false}}},
                                             {.attention_s = 2, .shared_s = 0, .parts = {}}};
  const PipelineSchedule schedule = schedule_pipeline(2, PipelineOrder::asas, batches);
  EXPECT_EQ(std::ranges::count_if(schedule.tasks, [](const ScheduledTask& t) { return t.kind == TaskKind::shared; }), 0);
  EXPECT_EQ(schedule.tasks.size(), 2U * (2 + 3));
  // A0 0-2, D 2-3, X 3-6, C 6-7, A1 2-4; in the next layer A0 7-9, D 9-10, X 10-13, C 13-14.
  EXPECT_DOUBLE_EQ(schedule.makespan_s, 14);
}

TEST(PipelineSchedule, NothingThatTakesLongerMakesItFaster) {
  std::mt19937_64 random(6);
  for (int i = 0; i < 2'000; ++i) {
    auto batches = some_uneven(random);
    const PipelineOrder order = i % 2 == 0 ? PipelineOrder::asas : PipelineOrder::aass;
    const double before = pipeline_makespan(4, order, batches);
    MicroBatchTimes& batch = batches[random() % batches.size()];
    double* longer = random() % 2 == 0 ? &batch.attention_s : &batch.shared_s;
    if (!batch.parts.empty() && random() % 3 != 0) {
      PartTimes& part = batch.parts[random() % batch.parts.size()];
      longer = std::array{&part.dispatch_s, &part.expert_s, &part.combine_s}[random() % 3];
    }
    *longer += 0.25 + some_time(random);
    ASSERT_GE(pipeline_makespan(4, order, batches) + close, before) << "case " << i;
  }
}

TEST(PipelineSchedule, SharedExpertsDoNotHoldBackDispatch) {
  const EvenPipeline even{.num_layers = 1, .r1 = 1, .r2 = 1, .attention_s = 1, .shared_s = 5, .dispatch_s = 1, .expert_s = 1, .combine_s = 1};
  EXPECT_DOUBLE_EQ(pipeline_makespan(1, PipelineOrder::asas, micro_batches_of(even)), 6);  // not 1 + 5 + 3
}

TEST(PipelineSchedule, PingPongIsExactFromItsKneeOn) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 1'000; ++i) {
    EvenPipeline even{.num_layers = static_cast<int>(2 + random() % 5), .r2 = 1, .attention_s = 0.5 + some_time(random)};
    even.expert_s = even.attention_s;
    even.dispatch_s = even.combine_s = even.attention_s * static_cast<double>(1 + random() % 9) / 10;  // links are faster than groups
    const int knee = pingpong_knee(even.attention_s, even.expert_s, even.dispatch_s);
    for (even.r1 = 1; even.r1 <= knee + 2; ++even.r1) {
      const double truth = pipeline_makespan(even.num_layers, PipelineOrder::asas, micro_batches_of(even));
      const double formula = pingpong_makespan(even.num_layers, even.r1, even.attention_s, even.expert_s, even.dispatch_s);
      if (even.r1 >= knee) {
        ASSERT_NEAR(truth, formula, close);
      } else {
        ASSERT_GT(truth, formula + close);
      }
    }
  }
}

TEST(PipelineSchedule, PartsShareRowsButForOne) {
  for (std::int64_t rows = 0; rows < 20; ++rows) {
    for (int parts = 1; parts < 9; ++parts) {
      std::int64_t sum = 0;
      for (int part = 0; part < parts; ++part) {
        sum += rows_of_part(rows, parts, part);
        EXPECT_LE(rows_of_part(rows, parts, part) - rows_of_part(rows, parts, parts - 1), 1);
        EXPECT_GE(rows_of_part(rows, parts, part), rows / parts);
      }
      EXPECT_EQ(sum, rows);
    }
  }
}

/// A schedule of two layers whose one task is moved by hand.
class CheckSchedule : public ::testing::Test {
 protected:
  ScheduledTask& find(TaskKind kind, int layer, int micro_batch, int part = 0) {
    return *std::ranges::find_if(schedule.tasks, [&](const ScheduledTask& t) {
      return t.kind == kind && t.layer == layer && t.micro_batch == micro_batch && t.part == part;
    });
  }
  [[nodiscard]] std::vector<std::string> broken(std::optional<PipelineOrder> order = PipelineOrder::asas) const {
    return check_schedule(schedule.tasks, {.tolerance_s = 1e-6, .order = order});
  }
  static void move(ScheduledTask& task, double by_s) {
    task.begin_s += by_s;
    task.end_s += by_s;
  }
  PipelineSchedule schedule = schedule_pipeline(
      2, PipelineOrder::asas,
      micro_batches_of({.num_layers = 2, .r1 = 2, .r2 = 2, .attention_s = 4, .shared_s = 1, .dispatch_s = 1, .expert_s = 2, .combine_s = 1}));
};

TEST_F(CheckSchedule, SeesEachKindOfTaskThatBeginsTooEarly) {
  EXPECT_TRUE(broken().empty());
  for (const TaskKind kind : {TaskKind::shared, TaskKind::dispatch, TaskKind::expert, TaskKind::combine}) {
    const auto kept = schedule;
    ScheduledTask& task = find(kind, 0, 0);
    task.begin_s -= 0.5;
    ASSERT_FALSE(broken().empty()) << to_string(kind);
    EXPECT_NE(broken().front().find(std::string(to_string(kind)) + " of layer 0"), std::string::npos) << broken().front();
    schedule = kept;
  }
  // Attention of the next layer before the shared experts, and before the last outputs, are there.
  schedule.tasks = {find(TaskKind::shared, 0, 0), find(TaskKind::attention, 1, 0)};
  schedule.tasks[1].begin_s = schedule.tasks[0].end_s - 0.5;
  schedule.tasks[1].source = schedule.tasks[0].source;
  EXPECT_FALSE(broken().empty());
}

TEST_F(CheckSchedule, SeesAttentionBeforeTheLastOutputs) {
  ScheduledTask outputs = find(TaskKind::combine, 0, 0, 1), attention = find(TaskKind::attention, 1, 0);
  schedule.tasks = {outputs, attention};
  EXPECT_TRUE(broken().empty());
  schedule.tasks[1].begin_s = outputs.end_s - 0.5;
  EXPECT_EQ(broken().size(), 1U);
}

TEST_F(CheckSchedule, SeesTwoTasksAtATime) {
  ScheduledTask first = find(TaskKind::expert, 0, 0), second = find(TaskKind::expert, 0, 1);
  schedule.tasks = {first, second};
  EXPECT_TRUE(broken().empty());
  schedule.tasks[1].begin_s = first.end_s - 0.5;
  EXPECT_EQ(broken().size(), 1U);
  schedule.tasks[1].peer = 1;  // another expert rank may
  EXPECT_TRUE(broken().empty());
}

TEST_F(CheckSchedule, ExpertsThatWorkForSeveralSourcesAtOnceAreOneTask) {
  ScheduledTask first = find(TaskKind::expert, 0, 0), second = first;
  second.source = 1;
  schedule.tasks = {first, second};
  EXPECT_TRUE(broken().empty());
  schedule.tasks[1].end_s += 0.5;
  EXPECT_EQ(broken().size(), 1U);
  schedule.tasks[1] = first;  // of one source: twice at a time
  EXPECT_EQ(broken().size(), 1U);
}

TEST_F(CheckSchedule, OutputsOfACallNeedThatCallAlone) {
  ScheduledTask early = find(TaskKind::expert, 0, 0), late = early, outputs = find(TaskKind::combine, 0, 0);
  late.call = 1;
  move(late, late.end_s - late.begin_s);
  outputs.begin_s = early.end_s;
  schedule.tasks = {early, late, outputs};
  EXPECT_TRUE(broken().empty());
  schedule.tasks[2].call = 1;
  EXPECT_EQ(broken().size(), 1U);
  // Both calls need the rows of the part.
  schedule.tasks = {find(TaskKind::dispatch, 0, 0), early, late};
  schedule.tasks[0].end_s = late.begin_s - 0.5;
  EXPECT_EQ(broken().size(), 1U);
}

TEST_F(CheckSchedule, LinksMayHoldSeveralWhereTheRulesSaySo) {
  ScheduledTask first = find(TaskKind::dispatch, 0, 0), second = find(TaskKind::dispatch, 0, 0, 1);
  second.begin_s = first.begin_s;
  schedule.tasks = {first, second};
  EXPECT_EQ(broken().size(), 1U);
  EXPECT_TRUE(check_schedule(schedule.tasks, {.tolerance_s = 1e-6, .order = {}, .links_hold_one = false}).empty());
}

TEST_F(CheckSchedule, SeesAnotherOrderOfAttention) {
  EXPECT_FALSE(broken(PipelineOrder::aass).empty());
  EXPECT_TRUE(broken(std::nullopt).empty());
  ScheduledTask early = find(TaskKind::attention, 0, 1), late = find(TaskKind::attention, 0, 0);
  move(late, early.end_s);
  schedule.tasks = {early, late};
  EXPECT_EQ(broken().size(), 1U);
}

TEST_F(CheckSchedule, SeesTimeRunningBackwardsAndForgivesTheTolerance) {
  ScheduledTask& task = find(TaskKind::shared, 1, 1);
  task.end_s = task.begin_s - 1;
  EXPECT_FALSE(broken().empty());
  ScheduledTask first = find(TaskKind::attention, 0, 0), second = find(TaskKind::dispatch, 0, 0);
  second.begin_s = first.end_s - 1e-7;
  schedule.tasks = {first, second};
  EXPECT_TRUE(broken().empty());
}

}  // namespace
}  // namespace moebius::policy
