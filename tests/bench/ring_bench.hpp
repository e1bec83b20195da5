// SPDX-License-Identifier: Apache-2.0
#pragma once
// Benchmarks of the token rings: ring/load_store and ring/put, each between two ranks that it starts.

#include <string>

namespace moebius::bench {

/// `self` is the path of this program, which the ranks run with --ring-pair.
void add_ring_benchmarks(const std::string& self);

}  // namespace moebius::bench
