// SPDX-License-Identifier: Apache-2.0
// The tiles with AVX2 and FMA. Nothing else belongs here: see simd_vec.hpp.
#include "kernels/simd_avx2.hpp"
#include "kernels/tiles.hpp"

namespace moebius::kernels {

constinit const KernelTable avx2_kernels = make_table<Avx2>(Isa::avx2);

}  // namespace moebius::kernels
