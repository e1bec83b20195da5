// SPDX-License-Identifier: Apache-2.0
#pragma once
// The tables of results.h5 that tell of the run and not of its rows: /ranks, /experts and /rebalance.
// What a file of an earlier version does not have is read as empty.
// For the sources of `io` only; others read them through ResultsReader.

#include <vector>

#include "io/hdf5_handle.hpp"
#include "io/results_master.hpp"

namespace moebius::io {

void write_run_tables(hid_t file, const RunRecord& record);

std::vector<RankTiming> read_timing(hid_t file);
std::vector<RankMemory> read_memory(hid_t file);
std::vector<RankPrefixCache> read_prefix_caches(hid_t file);
std::vector<RankLatency> read_latencies(hid_t file);
std::vector<RankWork> read_work(hid_t file);
std::vector<RankInterval> read_timeline(hid_t file);
std::vector<RankTransfer> read_transfers(hid_t file);
std::vector<RankSeriesPoint> read_series(hid_t file);
ExpertLoad read_expert_load(hid_t file);
PlacementHistory read_placement(hid_t file);
RoutingTrace read_routing_trace(hid_t file);
CapacityTable read_capacity(hid_t file);
ExpertActivation read_expert_activation(hid_t file);
std::vector<PlacementChange> read_placement_changes(hid_t file);
std::vector<RankRebalance> read_rebalance(hid_t file);

}  // namespace moebius::io
