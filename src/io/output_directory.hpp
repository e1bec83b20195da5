// SPDX-License-Identifier: Apache-2.0
#pragma once
// The result folder: <output.path>/{blocks/, journal, results.h5}. Rank 0 prepares it before the
// others open anything in it.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "base/ids.hpp"

namespace moebius::io {

enum class OnExisting : std::uint8_t {
  resume,   ///< go on with a run that was stopped; results without a journal are an error
  replace,  ///< delete what a run wrote there (--force-new), and nothing else
};

/// Makes the folder and blocks/ in it, with parents, and makes sure that it can be written.
/// Failure(bad_usage) where it cannot be made or cannot be written; Failure(does_not_fit) where the disk is full.
void make_output_directory(const std::filesystem::path& directory);

/// Makes the folder ready for the first run in it. Failure(bad_usage) where it holds results (resume), or as above. Killed
/// anywhere inside, it has either touched nothing that is there, or left a folder that is made ready with `resume` too.
void prepare_output_directory(const std::filesystem::path& directory, OnExisting on_existing);

std::filesystem::path blocks_path(const std::filesystem::path& directory);
std::filesystem::path master_path(const std::filesystem::path& directory);

/// Names inside blocks/: "r2-17-5f1c09ab.h5". The last part is the upper half of the file's checksum: HDF5
/// falls back to the current folder when it does not find a block beside results.h5, and must not meet
/// a block of another run under the same name there.
struct BlockName {
  RankId rank;
  std::int64_t sequence = 0;
};
std::string block_name(const BlockName& block, std::uint64_t checksum);
/// The name while the block is being written by a run of this number: "r2-17-0.h5.tmp". A rank of a dead run
/// that does not know it yet writes beside one of the next run, not into the same file.
std::string temporary_block_name(const BlockName& block, std::int64_t run);
/// Nothing where this is not the name of a finished block.
std::optional<BlockName> parse_block_name(std::string_view name);
bool is_temporary_name(std::string_view name);

}  // namespace moebius::io
