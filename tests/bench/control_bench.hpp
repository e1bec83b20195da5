// SPDX-License-Identifier: Apache-2.0
#pragma once
// What the guarantee of equal bits costs: our product beside one that may choose the order of its sums by
// the number of rows. Only where the processor multiplies pairs of bf16.

#include "tests/bench/meter.hpp"

namespace moebius::bench {

void add_control_benchmarks(Meter& meter);

}  // namespace moebius::bench
