// SPDX-License-Identifier: Apache-2.0
#pragma once
// Products of bf16 by libxsmm beside ours, where it is installed (libxsmm-dev): as library_bench.hpp has them.
// libxsmm_bench.cpp or libxsmm_bench_none.cpp.

#include "tests/bench/meter.hpp"

namespace moebius::bench {

void add_libxsmm_benchmarks(Meter& meter);

}  // namespace moebius::bench
