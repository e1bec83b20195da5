// SPDX-License-Identifier: Apache-2.0
#pragma once
// Benchmarks of the kernels on one core, as rates and as shares of what the same program measures as the
// peak of the core and of memory. Weights come from memory, as in a real model: matrices of one shape
// take turns until half a gigabyte has passed.

#include <benchmark/benchmark.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "kernels/gemm.hpp"
#include "tests/support/owned_matrix.hpp"

namespace moebius::bench {

class KernelBench {
 public:
  /// Registers everything; this object must outlive the run.
  void add_benchmarks();

 private:
  struct Shape {
    ComputeType type;
    int num_out, num_in;
    bool operator==(const Shape&) const = default;
  };
  struct Machine {
    double flops;       ///< per second, one core
    double read_bytes;  ///< per second, one core, from memory
  };

  const Machine& machine();
  const std::vector<test::OwnedMatrix>& matrices(Shape shape);
  void peak(benchmark::State& state);
  void gemm(benchmark::State& state, Shape shape);
  void prefill(benchmark::State& state, ComputeType type);
  void decode(benchmark::State& state, ComputeType type);
  void log_softmax(benchmark::State& state);

  std::optional<Machine> machine_;
  std::optional<Shape> shape_;
  std::vector<test::OwnedMatrix> matrices_;  // of shape_
};

}  // namespace moebius::bench
