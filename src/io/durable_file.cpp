// SPDX-License-Identifier: Apache-2.0
#include "io/durable_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <span>

#include "base/failure.hpp"
#include "base/hash.hpp"

namespace moebius::io {
namespace {

FileDescriptor open_for_reading(const std::filesystem::path& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) os_failed("open", path);
  return FileDescriptor(fd);
}

}  // namespace

FileDescriptor& FileDescriptor::operator=(FileDescriptor&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

FileDescriptor::~FileDescriptor() {
  if (fd_ >= 0) ::close(fd_);
}

void os_failed(std::string_view doing, const std::filesystem::path& path) {
  const int error = errno;
  const bool full = error == ENOSPC || error == EDQUOT || error == EFBIG;
  throw Failure{full ? ExitCode::does_not_fit : ExitCode::unreadable_input,
                fmt::format("cannot {} {} ({}) {}", doing, path.native(), std::strerror(error),
                            full ? "make room on that file system and run again"
                                 : "check the path, its permissions and its file system")};
}

bool is_about_the_path(int error) {
  constexpr int errors[] = {EACCES, EPERM, EROFS, ENOENT, ENOTDIR, EISDIR, ENAMETOOLONG, ELOOP, EINVAL, EEXIST};
  return std::ranges::find(errors, error) != std::end(errors);
}

void sync_file(const FileDescriptor& file, const std::filesystem::path& name) {
  if (::fsync(file.get()) != 0) os_failed("sync", name);
}

void sync_directory(const std::filesystem::path& directory) {
  const FileDescriptor folder = open_for_reading(directory);
  // Some network file systems do not sync folders and say EINVAL; their renames are synchronous.
  if (::fsync(folder.get()) != 0 && errno != EINVAL) os_failed("sync folder", directory);
}

void commit_file(const std::filesystem::path& temporary, const std::filesystem::path& name) {
  sync_file(open_for_reading(temporary), temporary);
  if (::rename(temporary.c_str(), name.c_str()) != 0) os_failed("rename to", name);
  sync_directory(name.parent_path());
}

std::uint64_t file_checksum(const std::filesystem::path& file) {
  const FileDescriptor opened = open_for_reading(file);
  struct stat about {};
  if (::fstat(opened.get(), &about) != 0) os_failed("look at", file);
  const auto num_bytes = static_cast<std::size_t>(about.st_size);
  if (num_bytes == 0) return xxh3_64(std::span<const std::byte>{});
  void* bytes = ::mmap(nullptr, num_bytes, PROT_READ, MAP_PRIVATE, opened.get(), 0);
  if (bytes == MAP_FAILED) os_failed("map", file);
  const std::uint64_t checksum = xxh3_64(std::span(static_cast<const std::byte*>(bytes), num_bytes));
  ::munmap(bytes, num_bytes);
  return checksum;
}

}  // namespace moebius::io
