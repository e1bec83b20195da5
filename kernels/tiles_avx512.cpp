// SPDX-License-Identifier: Apache-2.0
// The tiles with AVX-512F. Nothing else belongs here: see simd_vec.hpp.
#include "kernels/simd_avx512.hpp"
#include "kernels/tiles.hpp"

namespace moebius::kernels {

constinit const KernelTable avx512_kernels = make_table<Avx512>(Isa::avx512);

}  // namespace moebius::kernels
