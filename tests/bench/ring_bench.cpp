// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/ring_bench.hpp"

#include <benchmark/benchmark.h>

#include <cstdio>
#include <exception>
#include <map>
#include <memory>

#include "tests/bench/launch.hpp"

namespace moebius::bench {
namespace {

constexpr double large_bytes = 16 * 1024;

struct Seconds {
  double one_way, small, large, plain_copy;
};
using ByPath = std::map<std::string, Seconds>;

ByPath measure(const std::string& self) {
  ByPath measured;
  for (const std::string& line : run_ranks(2, "'" + self + "' --ring-pair")) {
    char path[32] = {};
    Seconds s{};
    if (std::sscanf(line.c_str(), "%31s %lf %lf %lf %lf", path, &s.one_way, &s.small, &s.large, &s.plain_copy) == 5) {
      measured[path] = s;
    }
  }
  return measured;
}

/// One run of the pair serves both benchmarks.
class RingBench {
 public:
  explicit RingBench(std::string self) : self_(std::move(self)) {}

  void run(benchmark::State& state, const std::string& path) {
    try {
      if (measured_.empty()) measured_ = measure(self_);
    } catch (const std::exception& error) {
      return state.SkipWithError(error.what());
    }
    if (!measured_.contains(path)) return state.SkipWithError("this one-sided component shares no memory");
    const Seconds& s = measured_.at(path);
    for ([[maybe_unused]] auto _ : state) state.SetIterationTime(s.one_way);
    state.counters["64B one way ns"] = s.one_way * 1e9;
    state.counters["64B stream ns"] = s.small * 1e9;
    state.counters["16KiB GB/s"] = large_bytes / s.large * 1e-9;
    state.counters["of plain copy"] = s.plain_copy / s.large;
  }

 private:
  std::string self_;
  ByPath measured_;
};

}  // namespace

void add_ring_benchmarks(const std::string& self) {
  const auto bench = std::make_shared<RingBench>(self);
  for (const char* path : {"load_store", "put"}) {
    benchmark::RegisterBenchmark((std::string("ring/") + path).c_str(),
                                 [bench, path](benchmark::State& state) { bench->run(state, path); })
        ->Iterations(1)->UseManualTime();
  }
}

}  // namespace moebius::bench
