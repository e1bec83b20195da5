// SPDX-License-Identifier: Apache-2.0
// The tiles with AVX-512F and AVX512_BF16. Nothing else belongs here: see simd_vec.hpp.
#include "kernels/simd_avx512_bf16.hpp"
#include "kernels/tiles.hpp"

namespace moebius::kernels {

constinit const KernelTable avx512_bf16_kernels = make_table<Avx512Bf16>(Isa::avx512_bf16);

}  // namespace moebius::kernels
