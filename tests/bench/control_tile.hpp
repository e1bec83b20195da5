// SPDX-License-Identifier: Apache-2.0
#pragma once
// The control of control_bench.hpp: a product of bf16 whose blocking, and with it the order of sums, is the
// best we know for each number of rows. Its own source, since it is compiled for AVX512_BF16.

#include <cstdint>

namespace moebius::bench {

struct ControlCall {
  const std::uint32_t* w;  // [panels, num_pairs, 32] pairs, one panel after the other
  int num_panels;          ///< a multiple of four
  int num_pairs;           ///< a multiple of 256
  const std::uint32_t* x;  // [num_pairs / 256, num_rows, 272] pairs
  int num_rows;
  float* y;                // [num_rows, num_panels * 32]
};

/// Bits depend on num_rows. Call it only where the processor has AVX512_BF16.
void control_product(const ControlCall& call);

}  // namespace moebius::bench
