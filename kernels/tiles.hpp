// SPDX-License-Identifier: Apache-2.0
#pragma once
// Makes the table of one instruction set. Included by tiles_*.cpp alone, each compiled with its own flags.

#include "kernels/attention_tile.hpp"
#include "kernels/ffn_tile.hpp"
#include "kernels/gemm_tile.hpp"
#include "kernels/kernel_table.hpp"
#include "kernels/row_tile.hpp"

namespace moebius::kernels {
namespace {

template <class N>
constexpr KernelTable make_table(Isa isa) {
  return KernelTable{
      .isa = isa,
      .gemm_strip = gemm_strip<N>,
      .gated_strip = gated_strip<N>,
      .attend = attend<N>,
      .narrow_row = narrow_row<N>,
      .lay_bf16_row = lay_bf16_row<N>,
      .bf16_per_float = N::has_dot ? 2 : 1,
      .rms_norm_row = rms_norm_row<N>,
      .rope_row = rope_row<N>,
      .combine_row = combine_row<N>,
      .max_row = max_row<N>,
      .exp_row = exp_row<N>,
      .sum_exp_row = sum_exp_row<N>,
      .fp32_peak = fp32_peak_loop<N>(),
      .bf16_peak = bf16_peak_loop<N>(),
  };
}

}  // namespace

extern const KernelTable portable_kernels;
extern const KernelTable avx2_kernels;
extern const KernelTable avx512_kernels;
extern const KernelTable avx512_bf16_kernels;

}  // namespace moebius::kernels
