// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/kernels_bench.hpp"

#include <algorithm>
#include <random>
#include <string>
#include <utility>

#include "base/check.hpp"
#include "kernels/ffn.hpp"
#include "kernels/isa.hpp"
#include "kernels/lm_head.hpp"
#include "kernels/logits.hpp"

namespace moebius::bench {

namespace {

constexpr std::size_t weight_bytes = std::size_t{512} << 20;

std::vector<std::byte> random_rows(ComputeType type, int num_rows, int width) {
  const auto x = random_floats(std::size_t(num_rows) * std::size_t(width));
  std::vector<std::byte> rows(x.size() * element_bytes(type));
  kernels::convert_rows(type, x, rows.data());
  return rows;
}

}  // namespace

std::vector<float> random_floats(std::size_t n) {
  std::minstd_rand random(1);
  std::uniform_real_distribution<float> uniform(-1.0F, 1.0F);
  std::vector<float> x(n);
  for (float& value : x) value = uniform(random);
  return x;
}

benchmark::internal::Benchmark* add_benchmark(const std::string& name, std::function<void(benchmark::State&)> function) {
  return benchmark::RegisterBenchmark(name.c_str(), std::move(function))->UseManualTime();
}

ManyMatrices::ManyMatrices(ComputeType type, int num_out, int num_in) : memory_(weight_bytes) {
  const auto w = random_floats(std::size_t(num_out) * std::size_t(num_in));
  const std::size_t bytes = kernels::packed_bytes(type, num_out, num_in);
  while (memory_.left() >= bytes) {
    matrices_.push_back(kernels::PackedMatrix::pack(type, w, num_out, num_in, memory_.take(bytes)));
  }
}

const std::vector<kernels::PackedMatrix>& KernelBench::matrices(Shape shape) {
  if (shape_ != shape) {
    matrices_.reset();
    matrices_.emplace(shape.type, shape.num_out, shape.num_in);
    shape_ = shape;
  }
  return matrices_->all();
}

void KernelBench::gemm(benchmark::State& state, Shape shape) {
  const int num_rows = static_cast<int>(state.range(0));
  const auto& weights = matrices(shape);
  const auto rows = random_rows(shape.type, num_rows, shape.num_in);
  std::vector<float> y(std::size_t(num_rows) * std::size_t(shape.num_out));
  const Work work{shape.type, 2.0 * num_rows * shape.num_out * shape.num_in, static_cast<double>(weights[0].bytes())};
  std::size_t next = 0;
  meter_.run(state, work, [&] {
    kernels::gemm(weights[next], {shape.type, rows.data(), shape.num_in}, num_rows, y.data(), shape.num_out);
    next = (next + 1) % weights.size();
  });
}

void KernelBench::expert_ffn(benchmark::State& state, ComputeType type, int hidden, int width) {
  const int num_rows = static_cast<int>(state.range(0));
  // gate_proj, up_proj and down_proj take as many bytes each; random numbers do for all three.
  const auto& in = matrices({type, width, hidden});
  const ManyMatrices down(type, hidden, width);
  const auto rows = random_rows(type, num_rows, hidden);
  std::vector<float> y(std::size_t(num_rows) * std::size_t(hidden));
  kernels::FfnScratch scratch;
  const Work work{type, 6.0 * num_rows * hidden * width, static_cast<double>(3 * in[0].bytes())};
  std::size_t next = 0;
  meter_.run(state, work, [&] {
    const kernels::ExpertFfn ffn{in[2 * next], in[2 * next + 1], down.all()[next]};
    kernels::expert_ffn(ffn, {type, rows.data(), hidden}, num_rows, y.data(), scratch);
    next = (next + 1) % (in.size() / 2);
  });
}

void KernelBench::log_softmax(benchmark::State& state) {
  const auto logits = random_floats(static_cast<std::size_t>(state.range(0)));
  const double seconds = meter_.run(state, {}, [&] {
    benchmark::DoNotOptimize(kernels::log_prob(kernels::summarise(logits), logits[0]));
  });
  state.counters["Glogit/s"] = static_cast<double>(state.range(0)) / seconds * 1e-9;
}

void KernelBench::lm_head(benchmark::State& state, int vocab_size, int hidden) {
  // Of whole rows of logits as many at a time as give 16 MiB, at least sixteen (model/attention_stack.cpp).
  const auto whole_rows = static_cast<std::size_t>(std::clamp((4 << 20) / vocab_size, 16, 96));
  const auto num_rows = static_cast<std::size_t>(state.range(0));
  const auto vocab = static_cast<std::size_t>(vocab_size);
  LargeMemory memory(kernels::packed_bytes(ComputeType::bf16, vocab_size, hidden));
  const auto w = random_floats(vocab * static_cast<std::size_t>(hidden));
  const auto weights = kernels::PackedMatrix::pack(ComputeType::bf16, w, vocab_size, hidden, memory.take(memory.left()));
  const auto rows = random_rows(ComputeType::bf16, static_cast<int>(num_rows), hidden);
  std::vector<float> logits(whole_rows * vocab);
  std::vector<kernels::LogitsSummary> summaries(num_rows), of_whole(num_rows);
  std::vector<kernels::WantedLogit> wanted;
  for (std::size_t row = 0; row < num_rows; ++row) wanted.push_back({static_cast<int>(row), static_cast<TokenId>(row * 31 % vocab)});
  const auto fused = [&] { kernels::summarise_head(weights, {ComputeType::bf16, rows.data(), hidden}, summaries, wanted); };
  const auto in_two_steps = [&] {
    for (std::size_t begin = 0; begin < num_rows; begin += whole_rows) {
      const std::size_t count = std::min(whole_rows, num_rows - begin);
      const std::byte* x = rows.data() + begin * static_cast<std::size_t>(hidden) * 2;
      kernels::gemm(weights, {ComputeType::bf16, x, hidden}, static_cast<int>(count), logits.data(), vocab_size);
      for (std::size_t i = 0; i < count; ++i) {
        of_whole[begin + i] = kernels::summarise(std::span<const float>(logits).subspan(i * vocab, vocab));
        benchmark::DoNotOptimize(kernels::log_prob(of_whole[begin + i], logits[i * vocab]));
      }
    }
  };
  state.counters["time of fused / two steps"] = meter_.compare(state, fused, in_two_steps);
  for (std::size_t i = 0; i < num_rows; ++i) MOEBIUS_EXPECT(summaries[i].log_sum_exp == of_whole[i].log_sum_exp);
}

void KernelBench::add_benchmarks() {
  for (const ComputeType type : {ComputeType::fp32, ComputeType::bf16}) {
    const std::string suffix = std::string("_") + to_string(type);
    add_benchmark("limits" + suffix, [this, type](benchmark::State& state) {
      meter_.limits(state, type, 0.3);
      state.SetLabel(kernels::to_string(kernels::active_isa()));
    })->Iterations(1);
    for (const auto& [num_out, num_in] : {std::pair{1536, 1024}, std::pair{1024, 1024}, std::pair{32, 1024}}) {
      const Shape shape{type, num_out, num_in};
      add_benchmark("gemm" + suffix + "_" + std::to_string(num_out) + "x" + std::to_string(num_in),
                    [this, shape](benchmark::State& state) { gemm(state, shape); })
          ->ArgName("rows")->Arg(1)->Arg(4)->Arg(16)->Arg(64)->Arg(256)->Arg(512);
    }
    const Shape square{type, 2048, 2048};  // as library_bench.hpp has it
    add_benchmark("gemm" + suffix + "_2048x2048", [this, square](benchmark::State& state) { gemm(state, square); })
        ->ArgName("rows")->Arg(2048)->Unit(benchmark::kMillisecond);
    for (const auto& [hidden, width] : {std::pair{1024, 512}, std::pair{2048, 768}}) {
      add_benchmark("expert_ffn" + suffix + "_" + std::to_string(hidden) + "x" + std::to_string(width),
                    [this, type, hidden, width](benchmark::State& state) { expert_ffn(state, type, hidden, width); })
          ->ArgName("rows")->Arg(1)->Arg(2)->Arg(4)->Arg(8)->Arg(12)->Arg(16)->Arg(32)->Arg(64)->Arg(128)->Arg(256);
    }
  }
  add_benchmark("log_softmax", [this](benchmark::State& state) { log_softmax(state); })
      ->ArgName("vocab")->Arg(4096)->Arg(151936);
  for (const auto& [vocab_size, hidden] : {std::pair{4096, 1024}, std::pair{32000, 2048}, std::pair{151936, 2048}}) {
    add_benchmark("lm_head_bf16_" + std::to_string(vocab_size) + "x" + std::to_string(hidden),
                  [this, vocab_size, hidden](benchmark::State& state) { lm_head(state, vocab_size, hidden); })
        ->ArgName("rows")->Arg(1)->Arg(16)->Arg(64)->Arg(256)->Unit(benchmark::kMillisecond);
  }
}

}  // namespace moebius::bench
