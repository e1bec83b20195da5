// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/kernels_bench.hpp"

#include <ctime>
#include <random>
#include <string>
#include <utility>

#include "kernels/attention.hpp"
#include "kernels/isa.hpp"
#include "kernels/logits.hpp"
#include "kernels/peak.hpp"

namespace moebius::bench {

namespace {

constexpr std::size_t weight_bytes = std::size_t{512} << 20;  // twice the last-level cache of the reference machine

std::vector<float> random_floats(std::size_t n) {
  std::minstd_rand random(1);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  std::vector<float> x(n);
  for (float& value : x) value = uniform(random);
  return x;
}

/// The shape of attention in Qwen3-30B-A3B.
constexpr int num_heads = 32;
constexpr int num_kv_heads = 4;
constexpr int head_dim = 128;

/// A sequence of num_tokens with its KV blocks and queries.
struct Sequence {
  kernels::KvLayout layout;
  std::vector<std::byte> memory;
  std::vector<const std::byte*> blocks;
  std::vector<float> q, out;

  Sequence(ComputeType type, int num_tokens, int num_queries)
      : layout{type, num_kv_heads, head_dim, head_dim},
        q(random_floats(std::size_t(num_queries) * num_heads * head_dim)),
        out(q.size()) {
    const std::size_t block_bytes = layout.block_layer_bytes();
    const auto num_blocks = std::size_t((num_tokens + 31) / 32);
    memory.resize(num_blocks * block_bytes);
    for (std::size_t i = 0; i < num_blocks; ++i) blocks.push_back(memory.data() + i * block_bytes);
    const auto kv = random_floats(num_kv_heads * head_dim);
    for (int position = 0; position < num_tokens; ++position) {
      std::byte* block = memory.data() + std::size_t(position / 32) * block_bytes;
      kernels::store_kv(layout, block, position % 32, kv.data(), kv.data());
    }
  }

  kernels::SegmentQueries segment(int first_position, int num_tokens) {
    const std::int64_t stride = num_heads * head_dim;
    return {q.data(), stride, out.data(), stride, blocks.data(), first_position, num_tokens};
  }
};

/// Seconds of processor time of one iteration: what other programs take of the core does not count.
template <class Body>
double time_iterations(benchmark::State& state, const Body& body) {
  const std::clock_t begin = std::clock();
  for ([[maybe_unused]] auto _ : state) body();
  const auto ticks = static_cast<double>(std::clock() - begin);
  return ticks / CLOCKS_PER_SEC / static_cast<double>(state.iterations());
}

}  // namespace

const KernelBench::Machine& KernelBench::machine() {
  if (!machine_) {
    const std::vector<float> array(weight_bytes / sizeof(float), 1.0F);
    machine_ = Machine{kernels::measure_peak_flops(1.0), kernels::measure_read_bandwidth(array, 1.0)};
  }
  return *machine_;
}

const std::vector<test::OwnedMatrix>& KernelBench::matrices(Shape shape) {
  if (shape_ == shape) return matrices_;
  matrices_.clear();
  const auto w = random_floats(std::size_t(shape.num_out) * std::size_t(shape.num_in));
  for (std::size_t bytes = 0; bytes < weight_bytes; bytes += matrices_.back().bytes()) {
    matrices_.emplace_back(shape.type, w, shape.num_out, shape.num_in);
  }
  shape_ = shape;
  return matrices_;
}

void KernelBench::peak(benchmark::State& state) {
  for ([[maybe_unused]] auto _ : state) benchmark::DoNotOptimize(machine());
  state.counters["GFLOP/s"] = machine().flops * 1e-9;
  state.counters["read GB/s"] = machine().read_bytes * 1e-9;
  state.SetLabel(kernels::to_string(kernels::active_isa()));
}

void KernelBench::gemm(benchmark::State& state, Shape shape) {
  const int num_rows = static_cast<int>(state.range(0));
  const auto& weights = matrices(shape);
  const auto x = random_floats(std::size_t(num_rows) * std::size_t(shape.num_in));
  std::vector<std::byte> rows(x.size() * element_bytes(shape.type));
  kernels::convert_rows(shape.type, x, rows.data());
  std::vector<float> y(std::size_t(num_rows) * std::size_t(shape.num_out));
  std::size_t next = 0;
  const double seconds = time_iterations(state, [&] {
    kernels::gemm(weights[next], {shape.type, rows.data(), shape.num_in}, num_rows, y.data(), shape.num_out);
    next = (next + 1) % weights.size();
  });
  const double flops = 2.0 * num_rows * shape.num_out * shape.num_in;
  const auto bytes = static_cast<double>(weights[0].bytes());
  state.counters["GFLOP/s"] = flops / seconds * 1e-9;
  state.counters["of peak"] = flops / seconds / machine().flops;
  state.counters["GB/s"] = bytes / seconds * 1e-9;
  state.counters["of read"] = bytes / seconds / machine().read_bytes;
}

void KernelBench::prefill(benchmark::State& state, ComputeType type) {
  const int num_tokens = static_cast<int>(state.range(0));
  Sequence sequence(type, num_tokens, num_tokens);
  const kernels::SegmentQueries segment = sequence.segment(0, num_tokens);
  const double seconds = time_iterations(state, [&] {
    kernels::attention(sequence.layout, {.num_heads = num_heads, .scale = 0.088F}, {&segment, 1});
  });
  const double flops = 4.0 * head_dim * num_heads * num_tokens * (num_tokens + 1) / 2;
  state.counters["GFLOP/s"] = flops / seconds * 1e-9;
  state.counters["of peak"] = flops / seconds / machine().flops;
}

void KernelBench::decode(benchmark::State& state, ComputeType type) {
  const int position = static_cast<int>(state.range(0));
  Sequence sequence(type, position + 1, 1);
  const kernels::SegmentQueries segment = sequence.segment(position, 1);
  const double seconds = time_iterations(state, [&] {
    kernels::attention(sequence.layout, {.num_heads = num_heads, .scale = 0.088F}, {&segment, 1});
  });
  const double bytes = 2.0 * (position + 1) * num_kv_heads * head_dim * static_cast<double>(element_bytes(type));
  state.counters["GB/s"] = bytes / seconds * 1e-9;
  state.counters["of read"] = bytes / seconds / machine().read_bytes;
}

void KernelBench::log_softmax(benchmark::State& state) {
  const auto logits = random_floats(static_cast<std::size_t>(state.range(0)));
  const double seconds = time_iterations(state, [&] {
    benchmark::DoNotOptimize(kernels::log_prob(kernels::summarise(logits), logits[0]));
  });
  state.counters["Glogit/s"] = static_cast<double>(state.range(0)) / seconds * 1e-9;
}

void KernelBench::add_benchmarks() {
  const auto add = [](const std::string& name, auto function) {
    return benchmark::RegisterBenchmark(name.c_str(), function);
  };
  add("machine_peak", [this](benchmark::State& state) { peak(state); })->Iterations(1);
  for (const ComputeType type : {ComputeType::fp32, ComputeType::bf16}) {
    const std::string suffix = std::string("_") + to_string(type);
    for (const auto& [num_out, num_in] : {std::pair{1024, 1024}, std::pair{2048, 768}}) {
      const Shape shape{type, num_out, num_in};
      add("gemm" + suffix + "_" + std::to_string(num_out) + "x" + std::to_string(num_in),
          [this, shape](benchmark::State& state) { gemm(state, shape); })
          ->ArgName("rows")->Arg(1)->Arg(4)->Arg(16)->Arg(64)->Arg(256);
    }
    add("attention_prefill" + suffix, [this, type](benchmark::State& state) { prefill(state, type); })
        ->ArgName("tokens")->Arg(256)->Arg(1024)->Unit(benchmark::kMillisecond);
    add("attention_decode" + suffix, [this, type](benchmark::State& state) { decode(state, type); })
        ->ArgName("position")->Arg(1023);
  }
  add("log_softmax", [this](benchmark::State& state) { log_softmax(state); })->ArgName("vocab")->Arg(4096)->Arg(151936);
}

}  // namespace moebius::bench
