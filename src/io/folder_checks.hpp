// SPDX-License-Identifier: Apache-2.0
#pragma once
// What a folder is good for as output.path: for `moebius selftest`.

#include <cstdint>
#include <filesystem>
#include <string>

namespace moebius::io {

struct FolderChecks {
  double commit_s = 0;             ///< a small file written, synced, renamed, its folder synced; median of several
  bool has_fcntl_locks = false;
  bool has_hard_links = false;     ///< `moebius merge` copies without them
  std::uint64_t free_bytes = 0;    ///< for this user
};

/// One rank. The folder is there and may be written; files are made in it and removed. Failure where one cannot be.
FolderChecks check_folder(const std::filesystem::path& directory);

}  // namespace moebius::io
