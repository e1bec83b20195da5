// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/jobs_bench.hpp"

#include <benchmark/benchmark.h>

#include <cstdlib>
#include <exception>
#include <filesystem>
#include <map>
#include <memory>
#include <stdexcept>
#include <vector>

#include "tests/bench/launch.hpp"

namespace moebius::bench {
namespace {

struct Layout {
  int ranks;
  const char* mode;
  const char* execution = "async";
};

/// A number of the JSON line that a run ends with.
double number_in(const std::string& json, const std::string& key) {
  const std::size_t at = json.find("\"" + key + "\":");
  if (at == std::string::npos) throw std::runtime_error("the run printed no " + key);
  return std::strtod(json.c_str() + at + key.size() + 3, nullptr);
}

class JobBench {
 public:
  explicit JobBench(std::string program)
      : program_(std::move(program)),
        output_(std::filesystem::temp_directory_path() / ("moebius_bench_" + std::to_string(std::rand()))) {}
  JobBench(const JobBench&) = delete;
  JobBench& operator=(const JobBench&) = delete;
  ~JobBench() {
    std::error_code ignored;
    std::filesystem::remove_all(output_, ignored);
  }

  void run(benchmark::State& state, const std::string& job, const std::string& compute, Layout layout) {
    try {
      const std::string line = run_once(job, compute, layout);
      for ([[maybe_unused]] auto _ : state) state.SetIterationTime(number_in(line, "loop_s"));
      const double rate = number_in(line, "tokens_per_s");
      // Ratios are to one rank of the same program call, so that they mean something on a noisy machine.
      if (layout.ranks == 1) one_rank_[job + compute] = rate;
      state.counters["tokens/s"] = rate;
      if (one_rank_.contains(job + compute)) state.counters["to 1 rank"] = rate / one_rank_.at(job + compute);
      state.counters["overhead"] = number_in(line, "overhead_share");
      state.counters["peak MiB"] = number_in(line, "peak_rss_bytes") / (1 << 20);
    } catch (const std::exception& error) {
      state.SkipWithError(error.what());
    }
  }

 private:
  std::string run_once(const std::string& job, const std::string& compute, Layout layout) {
    const std::string arguments = "'" + program_ + "' run inputs/" + job + ".toml --set 'output.path=" + output_.string() +
                                  "' --force-new --set layout.mode=" + layout.mode + " --set schedule.execution=" + layout.execution +
                                  " --set model.compute=" + compute +
                                  " --set run.progress=off 2>/dev/null";
    for (const std::string& line : run_ranks(layout.ranks, arguments)) {
      if (line.starts_with('{')) return line;
    }
    throw std::runtime_error("the run printed no summary");
  }

  std::string program_;
  std::filesystem::path output_;
  std::map<std::string, double> one_rank_;  // tokens/s
};

}  // namespace

void add_job_benchmarks(const std::string& program) {
  const auto bench = std::make_shared<JobBench>(program);
  for (const std::string compute : {"fp32", "bf16"}) {
    for (const std::string job : {"score", "perplexity", "generate"}) {
      for (const Layout layout : {Layout{1, "colocated"}, Layout{2, "colocated"}, Layout{2, "colocated", "lockstep"},
                                  Layout{2, "split"}, Layout{2, "split", "lockstep"}, Layout{2, "replicate"}, Layout{4, "split"}}) {
        std::string name = "job/" + job + "/" + compute + "/" + std::to_string(layout.ranks) + "_" + layout.mode;
        if (layout.execution != std::string("async")) name += std::string("_") + layout.execution;
        benchmark::RegisterBenchmark(name.c_str(),
                                     [=](benchmark::State& state) { bench->run(state, job, compute, layout); })
            ->Iterations(1)->UseManualTime()->Unit(benchmark::kSecond);
      }
    }
  }
}

}  // namespace moebius::bench
