// SPDX-License-Identifier: Apache-2.0
#pragma once
// How long a whole plan takes: every way to run a job, every split of 256 ranks, for each published model (aim: under a second).

namespace moebius::bench {

void add_plan_benchmarks();

}  // namespace moebius::bench
