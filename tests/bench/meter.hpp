// SPDX-License-Identifier: Apache-2.0
#pragma once
// Times a kernel beside the limits of the machine. On a machine that others use too, a limit measured once
// says little about the moment in which a kernel ran; so every few milliseconds of kernel the arithmetic
// loop and a read of memory run for a moment, and a share is the kernel's median time against the ninth decile
// of the limits over the same period. Time is processor time of the thread.

#include <benchmark/benchmark.h>

#include <optional>
#include <span>
#include <vector>

#include "base/model_config.hpp"
#include "tests/bench/large_memory.hpp"

namespace moebius::bench {

/// Of one iteration: multiply-adds count as two operations, bytes are those that must come from memory.
/// Zero: not of interest.
struct Work {
  ComputeType type = ComputeType::fp32;
  double flops = 0;
  double bytes = 0;
};

double thread_seconds();
double median(std::vector<double>& values);

class Meter {
 public:
  /// Runs the iterations of `state`, which must be registered with UseManualTime(), and sets its counters:
  /// rates and their shares of the limits. Returns the median seconds of an iteration.
  template <class Body>
  double run(benchmark::State& state, const Work& work, const Body& body) {
    begin();
    for ([[maybe_unused]] auto _ : state) {
      const double start = thread_seconds();
      body();
      const double seconds = thread_seconds() - start;
      state.SetIterationTime(seconds);
      add(work.type, seconds);
    }
    return finish(state, work);
  }
  /// Runs two bodies in turn; the ratio of their median times, the first over the second.
  template <class First, class Second>
  double compare(benchmark::State& state, const First& first, const Second& second) {
    std::vector<double> of_first, of_second;
    for ([[maybe_unused]] auto _ : state) {
      const double begin = thread_seconds();
      first();
      const double middle = thread_seconds();
      second();
      const double end = thread_seconds();
      of_first.push_back(middle - begin);
      of_second.push_back(end - middle);
      state.SetIterationTime(middle - begin);
    }
    return median(of_first) / median(of_second);
  }
  /// The limits alone, measured for `seconds`.
  void limits(benchmark::State& state, ComputeType type, double seconds);

 private:
  void begin();
  void add(ComputeType type, double seconds);
  void sample(ComputeType type);
  double finish(benchmark::State& state, const Work& work);

  std::optional<LargeMemory> memory_;  // larger than the caches
  std::span<float> array_;             // in it
  std::size_t next_piece_ = 0;
  double since_sample_ = 0;
  std::vector<double> seconds_, peak_flops_, read_bytes_;
};

}  // namespace moebius::bench
