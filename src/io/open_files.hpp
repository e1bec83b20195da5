// SPDX-License-Identifier: Apache-2.0
#pragma once
// How many files this process may have open. HDF5 keeps every block behind a virtual dataset open, and reads fill
// values, without a word, where the system refuses to open one more. Whoever reads through results.h5
// asks here first. For the sources of `io` only.

#include <cstdint>

namespace moebius::io {

/// Lets the process open as many files as the system allows, while it lives.
class ManyOpenFiles {
 public:
  ManyOpenFiles();
  ManyOpenFiles(const ManyOpenFiles&) = delete;
  ManyOpenFiles& operator=(const ManyOpenFiles&) = delete;
  ~ManyOpenFiles();
  /// Blocks that may be open now: the limit, less some files for everything else.
  [[nodiscard]] static std::int64_t room();

 private:
  std::uint64_t limit_before_;
};

}  // namespace moebius::io
