// SPDX-License-Identifier: Apache-2.0
#pragma once
// All committed rows of a result folder in input order, found from the journal and the blocks.
// The master is built from it, and a folder without master is read through it. For `io` only.

#include <cstdint>
#include <filesystem>
#include <vector>

#include "io/journal.hpp"
#include "io/rows_file.hpp"

namespace moebius::io {

struct IndexedBlock {
  JournalRecord record;
  RowsLayout layout;
};

struct RowPlace {
  std::int64_t input_line = 0;
  std::int32_t choice_idx = 0;
  std::int32_t block_idx = 0;
  std::int64_t row_idx = 0;  ///< inside the block
};

struct BlockIndex {
  std::vector<IndexedBlock> blocks;
  std::int64_t run = 0;         ///< the newest that has begun in the folder
  std::vector<RowPlace> order;  ///< sorted by (input_line, choice_idx); rows of one block in their own order
};

/// Failure where the journal is damaged, a block is missing or differs from its record, or a row is
/// there twice: a folder that is not whole must not pass for one that is.
BlockIndex read_block_index(const std::filesystem::path& directory);

}  // namespace moebius::io
