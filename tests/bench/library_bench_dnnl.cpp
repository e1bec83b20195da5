// SPDX-License-Identifier: Apache-2.0
#include <omp.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "dnnl.hpp"
#include "kernels/activations.hpp"
#include "tests/bench/kernels_bench.hpp"
#include "tests/bench/large_memory.hpp"
#include "tests/bench/library_bench.hpp"

namespace moebius::bench {

namespace {

constexpr std::size_t weight_bytes = std::size_t{512} << 20;

std::size_t size(int a, int b) { return static_cast<std::size_t>(a) * static_cast<std::size_t>(b); }

/// The product for one number of rows, with weights in the layout that the library likes best for it.
class Product {
 public:
  Product(int num_rows, int num_out, int num_in)
      : x_shape_({num_rows, num_in}, Type::bf16, Tag::ab),
        y_shape_({num_rows, num_out}, Type::f32, Tag::ab),
        primitive_desc_({x_shape_, {{num_in, num_out}, Type::bf16, Tag::any}, y_shape_}, engine_),
        product_(primitive_desc_) {}

  [[nodiscard]] std::size_t packed_bytes() const { return primitive_desc_.weights_desc().get_size(); }
  [[nodiscard]] dnnl::memory pack(std::vector<std::byte>& w, LargeMemory& memory) {  // w: [num_out, num_in]
    const dnnl::memory::desc packed = primitive_desc_.weights_desc();
    const dnnl::memory::desc plain(packed.dims(), Type::bf16, Tag::ba);
    dnnl::memory from(plain, engine_, w.data());
    dnnl::memory to(packed, engine_, memory.take(packed.get_size()).data());
    dnnl::reorder(from, to).execute(stream_, from, to);
    stream_.wait();
    return to;
  }
  void run(std::byte* x, const dnnl::memory& w, float* y) {
    product_.execute(stream_, {{DNNL_ARG_SRC, {x_shape_, engine_, x}}, {DNNL_ARG_WEIGHTS, w}, {DNNL_ARG_DST, {y_shape_, engine_, y}}});
    stream_.wait();
  }
  [[nodiscard]] std::string implementation() const { return primitive_desc_.impl_info_str(); }

 private:
  using Type = dnnl::memory::data_type;
  using Tag = dnnl::memory::format_tag;
  dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream_{engine_};
  dnnl::memory::desc x_shape_, y_shape_;
  dnnl::matmul::primitive_desc primitive_desc_;
  dnnl::matmul product_;
};

void product(Meter& meter, benchmark::State& state, int num_out, int num_in) {
  omp_set_num_threads(1);
  const int num_rows = static_cast<int>(state.range(0));
  const auto bytes_of = [](const std::vector<float>& floats) {
    std::vector<std::byte> bytes(floats.size() * 2);
    kernels::convert_rows(ComputeType::bf16, floats, bytes.data());
    return bytes;
  };
  auto w = bytes_of(random_floats(size(num_out, num_in)));
  auto x = bytes_of(random_floats(size(num_rows, num_in)));
  std::vector<float> y(size(num_rows, num_out)), alone(static_cast<std::size_t>(num_out));
  Product together(num_rows, num_out, num_in), single(1, num_out, num_in);
  LargeMemory memory(weight_bytes), memory_of_single(2 * single.packed_bytes());
  std::vector<dnnl::memory> weights;
  while (memory.left() >= together.packed_bytes()) weights.push_back(together.pack(w, memory));
  std::size_t next = 0;
  meter.run(state, {ComputeType::bf16, 2.0 * num_rows * num_out * num_in, static_cast<double>(w.size())}, [&] {
    together.run(x.data(), weights[next], y.data());
    next = (next + 1) % weights.size();
  });
  const dnnl::memory of_single = single.pack(w, memory_of_single);
  int num_other = 0;
  for (int row = 0; row < num_rows; ++row) {
    single.run(x.data() + size(row, num_in) * 2, of_single, alone.data());
    if (std::memcmp(alone.data(), y.data() + size(row, num_out), alone.size() * sizeof(float)) != 0) ++num_other;
  }
  state.counters["rows with other bits"] = num_other;
  state.SetLabel(together.implementation());
}

}  // namespace

void add_library_benchmarks(Meter& meter) {
  const auto add = [&](int num_out, int num_in) {
    return add_benchmark("onednn_bf16_" + std::to_string(num_out) + "x" + std::to_string(num_in),
                         [&meter, num_out, num_in](benchmark::State& state) { product(meter, state, num_out, num_in); })
        ->ArgName("rows");
  };
  add(2048, 2048)->Arg(2048);
  add(1024, 1024)->Arg(512)->Arg(64)->Arg(4)->Arg(1);
  add(1000, 4099)->Arg(150)->Arg(40)->Arg(7);  // sizes that divide nothing
}

}  // namespace moebius::bench
