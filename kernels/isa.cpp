// SPDX-License-Identifier: Apache-2.0
#include "kernels/isa.hpp"

#include <atomic>

#include "base/check.hpp"
#include "kernels/kernel_table.hpp"

namespace moebius::kernels {

namespace {

std::atomic<const KernelTable*>& active_table() {
  static std::atomic<const KernelTable*> table{find_kernels(best_isa())};
  return table;
}

}  // namespace

const char* to_string(Isa isa) {
  switch (isa) {
    case Isa::portable: return "portable";
    case Isa::avx2: return "avx2";
    case Isa::avx512: return "avx512";
    case Isa::avx512_bf16: return "avx512_bf16";
  }
  return "?";
}

bool isa_available(Isa isa) { return find_kernels(isa) != nullptr; }

Isa best_isa() {
  for (const Isa isa : {Isa::avx512_bf16, Isa::avx512, Isa::avx2}) {
    if (isa_available(isa)) return isa;
  }
  return Isa::portable;
}

Isa active_isa() { return active_kernels().isa; }

void set_active_isa(Isa isa) {
  MOEBIUS_EXPECT(isa_available(isa));
  active_table().store(find_kernels(isa), std::memory_order_release);
}

const KernelTable& active_kernels() { return *active_table().load(std::memory_order_acquire); }

}  // namespace moebius::kernels
