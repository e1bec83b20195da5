// SPDX-License-Identifier: Apache-2.0
#pragma once
// What results.h5 of merged shards says of the run. For shard_merge.cpp only.

#include <filesystem>
#include <vector>

#include "io/results_master.hpp"

namespace moebius::io {

/// From results.h5 of all shards, in their order. Texts that differ between shards stand beside each other; rank numbers of
/// a shard follow on those of the shard before it; loads are added up. Tables that only make sense for one run (trace,
/// activation, changes of the placement) stay empty: they are in the shards.
RunRecord merged_record(const std::vector<std::filesystem::path>& shards, const std::filesystem::path& directory);

}  // namespace moebius::io
