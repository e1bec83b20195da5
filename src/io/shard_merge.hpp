// SPDX-License-Identifier: Apache-2.0
#pragma once
// The shards of a job into one result folder: the same rows, digest and journal facts as those of a run that was
// never divided. Blocks are not written again: they get a second name (hard link) in the new folder, or are copied
// where it is on another file system. The shards stay as they are, and may be deleted afterwards.
//
// A merge that was killed goes on when it is run again: it commits block by block, as a run does (FORMAT.md).

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "io/output_directory.hpp"
#include "io/results_master.hpp"

namespace moebius::io {

struct MergeRequest {
  std::filesystem::path directory;            ///< where the merged results go
  std::vector<std::filesystem::path> shards;  ///< the folders of all shards, in any order
  OnExisting on_existing = OnExisting::resume;
};

struct MergeOutcome {
  std::int64_t num_shards = 0, num_linked = 0, num_copied = 0, bytes_copied = 0;  ///< blocks of this call
  bool was_done = false;           ///< an earlier merge had left nothing to do
  std::vector<std::string> notes;  ///< what was found and mended, for people
  MasterSummary results;
};

/// The shards that lie in `directory` under their usual names (base/shard.hpp).
std::vector<std::filesystem::path> find_shards(const std::filesystem::path& directory);

/// Failure(bad_usage) where the folders are not all shards of one job, each there once and finished (the message names
/// what is missing, there twice, or differs), or `directory` holds something else; Failure(unreadable_input) where a
/// block is missing or its bytes are not those that were committed, or a row is there twice.
MergeOutcome merge_shards(const MergeRequest& request);

}  // namespace moebius::io
