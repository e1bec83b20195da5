// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/plan_bench.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <string>

#include "policy/plan_modes.hpp"

namespace moebius::bench {
namespace {

constexpr int num_ranks = 256;

void plan(benchmark::State& state, EmulatedModel model) {
  Job job;
  job.emulation.device = EmulatedDevice::h100;
  job.emulation.model = model;
  job.emulation.link = EmulatedLink::network;
  const policy::Emulation emulation = *policy::make_emulation(job, policy::published_model(model).config);
  job.limits.max_tokens_in_flight = 16384;
  job.limits.segment_tokens = 256;
  job.limits.kv_tokens = 1 << 20;
  const policy::RequestShape requests[] = {{.prompt_tokens = 1024, .new_tokens = 128, .count = 1e5}, {.prompt_tokens = 8192, .scored_tokens = 8192, .count = 1e4}};
  const policy::PlanQuestion question{.times = emulation.times, .link = emulation.link, .num_ranks = num_ranks, .phases = policy::phases_of(requests, job.limits),
                                      .limits = {.micro_batch_tokens = 16384, .expert_rows = 1e9}, .memory = {.num_experts = emulation.times.model().config.num_experts}};
  std::int64_t schedules = 0;
  for (auto _ : state) {
    schedules = 0;
    for (const policy::PlannedMode& mode : policy::plan_modes(question)) {
      for (const policy::PlannedPhase& phase : mode.phases) schedules += phase.pipeline.num_evaluations;
    }
    benchmark::DoNotOptimize(schedules);
  }
  state.counters["schedules_of_the_best"] = static_cast<double>(schedules);
}

}  // namespace

void add_plan_benchmarks() {
  for (const EmulatedModel model : {EmulatedModel::mixtral_8x7b, EmulatedModel::qwen3_30b_a3b, EmulatedModel::qwen3_235b_a22b, EmulatedModel::deepseek_v2_lite,
                                    EmulatedModel::deepseek_v3}) {
    benchmark::RegisterBenchmark((std::string("plan/") + to_string(model) + "/256_ranks").c_str(), [model](benchmark::State& state) { plan(state, model); })
        ->Unit(benchmark::kMillisecond);
  }
}

}  // namespace moebius::bench
