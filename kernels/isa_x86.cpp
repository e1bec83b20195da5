// SPDX-License-Identifier: Apache-2.0
// The tables of an x86-64 build and whether this processor can run them (cpuid, and that the operating
// system saves the wide registers).
#include "kernels/kernel_table.hpp"

namespace moebius::kernels {

extern const KernelTable portable_kernels;
extern const KernelTable avx2_kernels;
extern const KernelTable avx512_kernels;
extern const KernelTable avx512_bf16_kernels;

const KernelTable* find_kernels(Isa isa) {
  __builtin_cpu_init();
  switch (isa) {
    case Isa::portable: return &portable_kernels;
    case Isa::avx2: return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &avx2_kernels : nullptr;
    case Isa::avx512:
      return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("fma") ? &avx512_kernels : nullptr;
    case Isa::avx512_bf16:
      return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("fma") ? &avx512_bf16_kernels : nullptr;
  }
  return nullptr;
}

}  // namespace moebius::kernels
