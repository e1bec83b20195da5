// SPDX-License-Identifier: Apache-2.0
#include "kernels/ffn.hpp"

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/workspace.hpp"

namespace moebius::kernels {

void silu_mul(const float* gate, const float* up, int num_rows, int width, ComputeType type, std::byte* out) {
  const KernelTable& kernels = active_kernels();
  Kokkos::parallel_for("silu_mul", HostRange(0, num_rows), [=, &kernels](const int row) {
    const std::int64_t begin = std::int64_t{row} * width;
    if (type == ComputeType::bf16) {
      kernels.silu_mul_row_bf16(gate + begin, up + begin, width, reinterpret_cast<std::uint16_t*>(out) + begin);
    } else {
      kernels.silu_mul_row(gate + begin, up + begin, width, reinterpret_cast<float*>(out) + begin);
    }
  });
}

void FfnScratch::reserve(int num_rows, int width) {
  const std::size_t floats = static_cast<std::size_t>(num_rows) * static_cast<std::size_t>(width);
  if (floats <= gate_.size()) return;
  gate_.resize(floats);
  up_.resize(floats);
  product_.resize(floats);
}

std::size_t FfnScratch::bytes() const { return (gate_.size() + up_.size() + product_.size()) * sizeof(float); }

void expert_ffn(const ExpertFfn& ffn, RowsView x, int num_rows, float* y, FfnScratch& scratch) {
  const ComputeType type = ffn.gate.type();
  const int width = ffn.gate.num_out();
  MOEBIUS_EXPECT(ffn.up.num_out() == width && ffn.down.num_in() == width);
  scratch.reserve(num_rows, width);
  gemm(ffn.gate, x, num_rows, scratch.gate_.data(), width);
  gemm(ffn.up, x, num_rows, scratch.up_.data(), width);
  auto* product = reinterpret_cast<std::byte*>(scratch.product_.data());
  silu_mul(scratch.gate_.data(), scratch.up_.data(), num_rows, width, type, product);
  gemm(ffn.down, RowsView{type, product, width}, num_rows, y, ffn.down.num_out());
}

}  // namespace moebius::kernels
