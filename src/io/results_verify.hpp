// SPDX-License-Identifier: Apache-2.0
#pragma once
// Checks a result folder from end to end: journal, blocks, master, and that what they say agrees.
// Reads every byte twice at most, in bounded memory, and changes nothing.

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/hash.hpp"

namespace moebius::io {

struct VerifyReport {
  std::vector<std::string> problems;  ///< each names the file concerned; empty: the results are whole
  std::vector<std::string> notes;     ///< harmless leftovers and files that are not ours
  std::int64_t num_blocks = 0, num_rows = 0, num_tokens = 0, num_failed = 0;  ///< found in good blocks
  std::int64_t num_rows_expected = -1;                                        ///< -1: not known, the run has not ended
  Digest128 digest;                                                           ///< recomputed from the rows
  [[nodiscard]] bool ok() const { return problems.empty(); }
};

/// Failure(unreadable_input) where the folder holds no journal; everything else is in the report:
/// records and blocks with their checksums and counts, offsets that rise, digests of rows recomputed and
/// summed, rows there twice, rows missing, results.h5 read through its virtual datasets, foreign files.
VerifyReport verify_results(const std::filesystem::path& directory);

}  // namespace moebius::io
