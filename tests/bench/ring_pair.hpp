// SPDX-License-Identifier: Apache-2.0
#pragma once
// Latency and bandwidth of the token rings between two ranks of one node, over the fast path and over
// Puts. Both ranks run the turn that an event loop runs: drain, send, flush, progress. What
// `mpirun -n 2 moebius_bench --ring-pair` runs; ring_bench.cpp starts it and shows the figures.

namespace moebius::bench {

/// Every rank of two calls this instead of anything else with MPI. Rank 0 prints one line per path:
///   path, seconds one way of 64 bytes, seconds a message of 64 bytes in a stream, of 16 KiB in a stream,
///   seconds of a plain copy of 16 KiB within as much memory as a ring has
int run_ring_pair();

}  // namespace moebius::bench
