// SPDX-License-Identifier: Apache-2.0
#pragma once
// Benchmarks of the kernels on one core, as rates and as shares of the limits of the machine (meter.hpp).
// Weights come from memory, as in a real model: matrices of one shape take turns until half a gigabyte has
// passed. They lie in large pages, as a job's do.

#include <benchmark/benchmark.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "kernels/gemm.hpp"
#include "tests/bench/large_memory.hpp"
#include "tests/bench/meter.hpp"

namespace moebius::bench {

/// Uniform in [-1, 1), always the same.
std::vector<float> random_floats(std::size_t n);

/// Matrices of one shape in large pages, half a gigabyte of them: sixteen times the last-level cache.
class ManyMatrices {
 public:
  ManyMatrices(ComputeType type, int num_out, int num_in);
  [[nodiscard]] const std::vector<kernels::PackedMatrix>& all() const { return matrices_; }

 private:
  LargeMemory memory_;
  std::vector<kernels::PackedMatrix> matrices_;
};

/// Registers with manual time and at least a few iterations.
benchmark::internal::Benchmark* add_benchmark(const std::string& name, std::function<void(benchmark::State&)> function);

/// Products with weights, whole experts, and what is computed row by row.
class KernelBench {
 public:
  explicit KernelBench(Meter& meter) : meter_(meter) {}
  /// Registers everything; this object must outlive the run.
  void add_benchmarks();

 private:
  struct Shape {
    ComputeType type;
    int num_out, num_in;
    bool operator==(const Shape&) const = default;
  };
  const std::vector<kernels::PackedMatrix>& matrices(Shape shape);
  void gemm(benchmark::State& state, Shape shape);
  void expert_ffn(benchmark::State& state, ComputeType type, int hidden, int width);
  void log_softmax(benchmark::State& state);
  void lm_head(benchmark::State& state, int vocab_size, int hidden);

  Meter& meter_;
  std::optional<Shape> shape_;
  std::optional<ManyMatrices> matrices_;  // of shape_
};

/// Attention over paged keys and values.
class AttentionBench {
 public:
  explicit AttentionBench(Meter& meter) : meter_(meter) {}
  void add_benchmarks();

 private:
  struct Heads {
    int num_heads, num_kv_heads, key_dim, value_dim;
  };
  void prefill(benchmark::State& state, ComputeType type, Heads heads);
  void decode(benchmark::State& state, ComputeType type, Heads heads);
  void decode_many(benchmark::State& state, ComputeType type, Heads heads);

  Meter& meter_;
};

}  // namespace moebius::bench
