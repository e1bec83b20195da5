// SPDX-License-Identifier: Apache-2.0
#include "io/folder_checks.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <system_error>

#include "base/clock.hpp"
#include "io/durable_file.hpp"

namespace moebius::io {
namespace {

namespace fs = std::filesystem;

FileDescriptor create(const fs::path& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) os_failed("create", path);
  return FileDescriptor(fd);
}

double time_of_commit(const fs::path& directory) {
  const fs::path temporary = directory / "block.tmp", name = directory / "block";
  const double before = now_s();
  {
    const FileDescriptor file = create(temporary);
    constexpr std::array<char, 65536> bytes{};
    if (::write(file.get(), bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) os_failed("write to", temporary);
  }
  commit_file(temporary, name);
  const double seconds = now_s() - before;
  fs::remove(name);
  return seconds;
}

bool takes_locks(const fs::path& path) {
  const FileDescriptor file = create(path);
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  return ::fcntl(file.get(), F_SETLK, &whole) == 0;
}

}  // namespace

FolderChecks check_folder(const fs::path& directory) {
  FolderChecks checks;
  std::array<double, 7> seconds{};
  for (double& time : seconds) time = time_of_commit(directory);
  std::ranges::sort(seconds);
  checks.commit_s = seconds[seconds.size() / 2];
  const fs::path file = directory / "file", link = directory / "link";
  checks.has_fcntl_locks = takes_locks(file);
  std::error_code error;
  fs::create_hard_link(file, link, error);
  checks.has_hard_links = !error && fs::hard_link_count(file, error) == 2;
  fs::remove(link, error);
  fs::remove(file, error);
  checks.free_bytes = fs::space(directory).available;
  return checks;
}

}  // namespace moebius::io
