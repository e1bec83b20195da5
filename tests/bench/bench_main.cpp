// SPDX-License-Identifier: Apache-2.0
// main of moebius_bench. Kokkos lives around everything, and what the benchmarks keep between runs
// dies before it is finalized.
#include <benchmark/benchmark.h>

#include <Kokkos_Core.hpp>

#include "tests/bench/kernels_bench.hpp"

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  Kokkos::initialize();
  {
    moebius::bench::KernelBench kernel_bench;
    kernel_bench.add_benchmarks();
    benchmark::RunSpecifiedBenchmarks();
  }
  Kokkos::finalize();
  benchmark::Shutdown();
  return 0;
}
