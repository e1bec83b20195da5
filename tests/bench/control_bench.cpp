// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/control_bench.hpp"

#include <cstring>
#include <string>

#include "base/bf16.hpp"
#include "kernels/gemm.hpp"
#include "kernels/isa.hpp"
#include "tests/bench/control_tile.hpp"
#include "tests/bench/kernels_bench.hpp"
#include "tests/bench/large_memory.hpp"

namespace moebius::bench {

namespace {

constexpr int num_in = 1024;
constexpr int num_pairs = num_in / 2;
constexpr int piece_pairs = 256;
constexpr int piece_stride = 272;

std::size_t size(int a, int b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

/// The control pays for laying out x too, as our product does.
void cut_rows(const std::byte* rows, int num_rows, std::uint32_t* pieces) {
  for (int row = 0; row < num_rows; ++row) {
    for (int piece = 0; piece * piece_pairs < num_pairs; ++piece) {
      std::memcpy(pieces + size(piece * num_rows + row, piece_stride),
                  rows + (size(row, num_pairs) + size(piece, piece_pairs)) * sizeof(std::uint32_t), piece_pairs * sizeof(std::uint32_t));
    }
  }
}

/// The same matrix again and again as the control reads it: panels of 32 outputs, one after the other.
class ControlMatrices {
 public:
  ControlMatrices(int num_out, std::size_t count) : matrix_bytes_(size(num_out, num_in) * 2), memory_(matrix_bytes_ * count) {
    const auto w = random_floats(size(num_out, num_in));
    first_ = memory_.take(matrix_bytes_ * count).data();
    auto* packed = reinterpret_cast<std::uint16_t*>(first_);
    for (int out = 0; out < num_out; ++out) {
      for (int k = 0; k < num_in; ++k) {
        packed[size(out - out % 32, num_in) + size(k / 2 * 32 + out % 32, 2) + static_cast<std::size_t>(k % 2)] =
            to_bf16(w[size(out, num_in) + static_cast<std::size_t>(k)]).bits;
      }
    }
    for (std::size_t i = 1; i < count; ++i) std::memcpy(first_ + i * matrix_bytes_, first_, matrix_bytes_);
  }
  [[nodiscard]] const std::uint32_t* operator[](std::size_t idx) const {
    return reinterpret_cast<const std::uint32_t*>(first_ + idx * matrix_bytes_);
  }

 private:
  std::size_t matrix_bytes_;
  LargeMemory memory_;
  std::byte* first_;
};

void compare(Meter& meter, benchmark::State& state, int num_out, std::size_t num_matrices) {
  const int num_rows = static_cast<int>(state.range(0));
  const ManyMatrices weights(ComputeType::bf16, num_out, num_in);
  const ControlMatrices weights_of_control(num_out, num_matrices);
  const auto x = random_floats(size(num_rows, num_in));
  std::vector<std::byte> rows(x.size() * 2);
  kernels::convert_rows(ComputeType::bf16, x, rows.data());
  std::vector<float> y(size(num_rows, num_out)), control(y.size());
  std::vector<std::uint32_t> pieces(size(2 * num_rows, piece_stride));
  std::size_t next = 0;
  const auto ours = [&] {
    kernels::gemm(weights.all()[next], {ComputeType::bf16, rows.data(), num_in}, num_rows, y.data(), num_out);
    next = (next + 1) % num_matrices;
  };
  const auto theirs = [&] {
    cut_rows(rows.data(), num_rows, pieces.data());
    control_product({weights_of_control[next], num_out / 32, num_pairs, pieces.data(), num_rows, control.data()});
    next = (next + 1) % num_matrices;
  };
  const double ratio = meter.compare(state, ours, theirs);
  state.counters["time of ours / control"] = ratio;
  double farthest = 0;
  for (std::size_t i = 0; i < y.size(); ++i) farthest = std::max(farthest, std::abs(double{y[i]} - double{control[i]}));
  state.counters["farthest"] = farthest;  // small: the control computes the same
}

}  // namespace

void add_control_benchmarks(Meter& meter) {
  if (!kernels::isa_available(kernels::Isa::avx512_bf16)) return;
  struct Case {
    const char* name;
    int num_out;
    std::size_t num_matrices;  // one stays in a cache
  };
  for (const Case& c : {Case{"in_cache", 256, 1}, Case{"from_memory", 1024, 256}}) {
    add_benchmark(std::string("same_bits_cost_") + c.name,
                  [&meter, c](benchmark::State& state) { compare(meter, state, c.num_out, c.num_matrices); })
        ->ArgName("rows")->Arg(1)->Arg(2)->Arg(4)->Arg(6)->Arg(8)->Arg(12)->Arg(16)->Arg(64)->Arg(256);
  }
}

}  // namespace moebius::bench
