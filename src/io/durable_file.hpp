// SPDX-License-Identifier: Apache-2.0
#pragma once
// Files that must survive a crash. A result file is written under a temporary name, synced, renamed, and
// its folder synced: whoever sees the final name sees the whole file, also after a power failure.
// For the sources of `io` only.

#include <cstdint>
#include <filesystem>
#include <string_view>
#include <utility>

namespace moebius::io {

/// Owner of a POSIX file descriptor.
class FileDescriptor {
 public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd_(fd) {}
  FileDescriptor(FileDescriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileDescriptor& operator=(FileDescriptor&& other) noexcept;
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  ~FileDescriptor();
  [[nodiscard]] int get() const { return fd_; }

 private:
  int fd_ = -1;
};

/// Throws the Failure for errno: a full disk is `does_not_fit`, everything else `unreadable_input`.
[[noreturn]] void os_failed(std::string_view doing, const std::filesystem::path& path);

/// Whether errno speaks of the path that a user chose (not allowed, not there, no folder), not of a disk that fails or is full.
bool is_about_the_path(int error);

/// Wait until what was written to an open file (its bytes and its length) is on the disk.
void sync_file(const FileDescriptor& file, const std::filesystem::path& name);
/// Wait until the names in a folder are on the disk.
void sync_directory(const std::filesystem::path& directory);
/// Sync `temporary`, give it its final name in the same folder (replacing), sync the folder.
void commit_file(const std::filesystem::path& temporary, const std::filesystem::path& name);

/// xxh3 of the bytes of a file.
std::uint64_t file_checksum(const std::filesystem::path& file);

}  // namespace moebius::io
