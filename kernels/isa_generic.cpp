// SPDX-License-Identifier: Apache-2.0
// The tables of a build for other processors than x86-64: only the portable one.
#include "kernels/kernel_table.hpp"

namespace moebius::kernels {

extern const KernelTable portable_kernels;

const KernelTable* find_kernels(Isa isa) { return isa == Isa::portable ? &portable_kernels : nullptr; }

}  // namespace moebius::kernels
