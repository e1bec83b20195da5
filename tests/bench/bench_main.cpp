// SPDX-License-Identifier: Apache-2.0
// main of moebius_bench: kernels and tokenizers in this process, rings and whole jobs in ranks that it starts. Kokkos
// lives around everything, and what the benchmarks keep between runs dies before it is finalized.
//   build/moebius_bench [--benchmark_filter=gemm|attention|ring|job|plan|encode|decode]
#include <benchmark/benchmark.h>

#include <Kokkos_Core.hpp>
#include <filesystem>
#include <string_view>

#include "tests/bench/control_bench.hpp"
#include "tests/bench/jobs_bench.hpp"
#include "tests/bench/kernels_bench.hpp"
#include "tests/bench/library_bench.hpp"
#include "tests/bench/libxsmm_bench.hpp"
#include "tests/bench/plan_bench.hpp"
#include "tests/bench/ring_bench.hpp"
#include "tests/bench/ring_pair.hpp"
#include "tests/bench/tokenizer_bench.hpp"

int main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--ring-pair") return moebius::bench::run_ring_pair();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  Kokkos::initialize();
  {
    moebius::bench::Meter meter;
    moebius::bench::KernelBench kernel_bench(meter);
    kernel_bench.add_benchmarks();
    moebius::bench::AttentionBench attention_bench(meter);
    attention_bench.add_benchmarks();
    moebius::bench::add_control_benchmarks(meter);
    moebius::bench::add_library_benchmarks(meter);
    moebius::bench::add_libxsmm_benchmarks(meter);
    const auto self = std::filesystem::canonical(argv[0]);
    moebius::bench::add_ring_benchmarks(self.string());
    moebius::bench::add_job_benchmarks((self.parent_path() / "moebius").string());
    moebius::bench::add_plan_benchmarks();
    moebius::bench::TokenizerBench tokenizer_bench;
    tokenizer_bench.add_benchmarks();
    benchmark::RunSpecifiedBenchmarks();
  }
  Kokkos::finalize();
  benchmark::Shutdown();
  return 0;
}
