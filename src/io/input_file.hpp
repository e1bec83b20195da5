// SPDX-License-Identifier: Apache-2.0
#pragma once
// A file opened for reading, by descriptor, for the readers of `io`. Only regular files: a folder, a
// pipe or a device is refused when it is opened. All errors are Failures that name the file and, where
// the path is relative, the folder that it started from.

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "base/failure.hpp"

namespace moebius::io {

class InputFile {
 public:
  /// Throws Failure{code} when the file cannot be opened or is not a regular file.
  static InputFile open(const std::filesystem::path& path, ExitCode code = ExitCode::unreadable_input);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) noexcept;
  ~InputFile();

  /// Size when it was opened.
  [[nodiscard]] std::int64_t num_bytes() const { return num_bytes_; }
  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] int descriptor() const { return descriptor_; }

  /// Fill `out` from `offset`; a Failure where the file ends before that.
  void read(std::int64_t offset, std::span<char> out) const;

 private:
  InputFile(std::filesystem::path path, ExitCode code, int descriptor, std::int64_t num_bytes);

  std::filesystem::path path_;
  ExitCode code_;
  int descriptor_ = -1;
  std::int64_t num_bytes_ = 0;
};

/// The whole of a small file. Throws Failure{code} when it is larger than `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, std::int64_t max_bytes,
                           ExitCode code = ExitCode::unreadable_input);

/// "; relative paths start at /current/folder" for a relative path, nothing for an absolute one.
std::string where_relative_paths_start(const std::filesystem::path& path);

}  // namespace moebius::io
