// SPDX-License-Identifier: Apache-2.0
#pragma once
// Which instruction set the inner tiles run on. The best one of the processor is chosen once, at the
// first use; tests and benchmarks may ask for another. All kernels of a call use the same one.
// avx2 and avx512 give the same bits (both fuse multiply and add, both sum in sixteen lanes), and so does
// avx512_bf16 in fp32; in bf16 it multiplies pairs in one instruction. portable rounds after each
// multiplication. These differ in the last digits: bits are promised per processor type.

namespace moebius::kernels {

enum class Isa { portable, avx2, avx512, avx512_bf16 };
const char* to_string(Isa isa);

/// Compiled in, and supported by this processor and operating system.
bool isa_available(Isa isa);
/// The fastest available one.
Isa best_isa();

/// The one in use.
Isa active_isa();
/// For tests and benchmarks, while no kernel runs. It must be available.
void set_active_isa(Isa isa);

}  // namespace moebius::kernels
