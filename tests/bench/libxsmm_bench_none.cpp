// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/libxsmm_bench.hpp"

namespace moebius::bench {

void add_libxsmm_benchmarks(Meter& /*meter*/) {}

}  // namespace moebius::bench
