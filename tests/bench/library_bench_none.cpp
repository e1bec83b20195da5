// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/library_bench.hpp"

namespace moebius::bench {

void add_library_benchmarks(Meter& /*meter*/) {}

}  // namespace moebius::bench
