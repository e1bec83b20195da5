// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/libxsmm_bench.hpp"

#include <libxsmm.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "base/bf16.hpp"
#include "base/check.hpp"
#include "kernels/activations.hpp"
#include "tests/bench/kernels_bench.hpp"
#include "tests/bench/large_memory.hpp"

namespace moebius::bench {

namespace {

constexpr std::size_t weight_bytes = std::size_t{512} << 20;
/// Outputs of one call: four vectors, which with six rows fill the registers. It was faster than 32, the panels of our
/// product, and all of k in one call faster than pieces of 512.
constexpr int block_out = 64;

std::size_t size(int a, int b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

/// w as pairs of k beside each other. // w: [num_out, num_in]; to: [num_out / 64, num_in / 2, 64, 2]
void pack(const std::vector<float>& w, int num_out, int num_in, std::byte* to) {
  auto* packed = reinterpret_cast<std::uint16_t*>(to);
  for (int out = 0; out < num_out; ++out) {
    for (int k = 0; k < num_in; ++k) {
      const std::size_t block = size(out - out % block_out, num_in);
      packed[block + size(k / 2 * block_out + out % block_out, 2) + static_cast<std::size_t>(k % 2)] =
          to_bf16(w[size(out, num_in) + static_cast<std::size_t>(k)]).bits;
    }
  }
}

/// The kernel that the library makes for one number of rows, and the loop over outputs around it.
class Product {
 public:
  Product(int num_rows, int num_out, int num_in) : num_out_(num_out), num_in_(num_in) {
    const libxsmm_blasint w_stride = block_out, x_stride = num_in, y_stride = num_out;
    const int pairs_of_k = LIBXSMM_GEMM_FLAG_VNNI_A;
    const float from_zero = 0.0F;
    kernel_ = libxsmm_bsmmdispatch(block_out, num_rows, num_in, &w_stride, &x_stride, &y_stride, nullptr, &from_zero, &pairs_of_k, nullptr);
    MOEBIUS_EXPECT(kernel_ != nullptr && num_out % block_out == 0 && num_in % 2 == 0);
  }
  void run(const std::byte* w, const std::byte* x, float* y) const {
    for (int out = 0; out < num_out_; out += block_out) {
      kernel_(reinterpret_cast<const libxsmm_bfloat16*>(w + size(out, num_in_) * 2), reinterpret_cast<const libxsmm_bfloat16*>(x), y + out);
    }
  }

 private:
  int num_out_, num_in_;
  libxsmm_bsmmfunction kernel_;
};

void product(Meter& meter, benchmark::State& state, int num_out, int num_in) {
  const int num_rows = static_cast<int>(state.range(0));
  const auto w = random_floats(size(num_out, num_in));
  std::vector<std::byte> x(size(num_rows, num_in) * 2);
  kernels::convert_rows(ComputeType::bf16, random_floats(size(num_rows, num_in)), x.data());
  std::vector<float> y(size(num_rows, num_out)), alone(static_cast<std::size_t>(num_out));
  LargeMemory memory(weight_bytes);
  std::vector<const std::byte*> weights;
  while (memory.left() >= w.size() * 2) {
    std::byte* matrix = memory.take(w.size() * 2).data();
    if (weights.empty()) {
      pack(w, num_out, num_in, matrix);
    } else {
      std::memcpy(matrix, weights[0], w.size() * 2);
    }
    weights.push_back(matrix);
  }
  const Product together(num_rows, num_out, num_in), single(1, num_out, num_in);
  std::size_t next = 0;
  meter.run(state, {ComputeType::bf16, 2.0 * num_rows * num_out * num_in, static_cast<double>(w.size() * 2)}, [&] {
    together.run(weights[next], x.data(), y.data());
    next = (next + 1) % weights.size();
  });
  int num_other = 0;
  for (int row = 0; row < num_rows; ++row) {
    single.run(weights[0], x.data() + size(row, num_in) * 2, alone.data());
    if (std::memcmp(alone.data(), y.data() + size(row, num_out), alone.size() * sizeof(float)) != 0) ++num_other;
  }
  state.counters["rows with other bits"] = num_other;
  state.SetLabel(libxsmm_get_target_arch());
}

}  // namespace

void add_libxsmm_benchmarks(Meter& meter) {
  libxsmm_init();
  const auto add = [&](int num_out, int num_in) {
    return add_benchmark("libxsmm_bf16_" + std::to_string(num_out) + "x" + std::to_string(num_in),
                         [&meter, num_out, num_in](benchmark::State& state) { product(meter, state, num_out, num_in); })
        ->ArgName("rows");
  };
  add(2048, 2048)->Arg(2048)->Unit(benchmark::kMillisecond);
  add(1024, 1024)->Arg(512)->Arg(64)->Arg(16)->Arg(4)->Arg(1);
  add(960, 4098)->Arg(150)->Arg(40)->Arg(7);
}

}  // namespace moebius::bench
