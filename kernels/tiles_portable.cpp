// SPDX-License-Identifier: Apache-2.0
// The tiles for any processor, with the compiler's default flags. Nothing else belongs here: see simd_vec.hpp.
#include "kernels/simd_portable.hpp"
#include "kernels/tiles.hpp"

namespace moebius::kernels {

constinit const KernelTable portable_kernels = make_table<Portable>(Isa::portable);

}  // namespace moebius::kernels
