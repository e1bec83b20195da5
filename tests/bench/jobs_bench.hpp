// SPDX-License-Identifier: Apache-2.0
#pragma once
// Whole jobs, end to end: job/<name>/<compute>/<ranks>_<layout>, each a run of build/moebius under mpirun.

#include <string>

namespace moebius::bench {

/// `program` is the path of build/moebius.
void add_job_benchmarks(const std::string& program);

}  // namespace moebius::bench
