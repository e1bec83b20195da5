// SPDX-License-Identifier: Apache-2.0
#pragma once
// Products of bf16 by oneDNN beside ours, where it is installed (libdnnl-dev): rates, shares, and how many
// rows have other bits than the same row computed alone. library_bench_dnnl.cpp or library_bench_none.cpp.

#include "tests/bench/meter.hpp"

namespace moebius::bench {

void add_library_benchmarks(Meter& meter);

}  // namespace moebius::bench
