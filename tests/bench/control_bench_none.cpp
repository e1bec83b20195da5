// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/control_bench.hpp"

namespace moebius::bench {

void add_control_benchmarks(Meter& /*meter*/) {}

}  // namespace moebius::bench
