// SPDX-License-Identifier: Apache-2.0
#include "io/input_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace moebius::io {

std::string where_relative_paths_start(const std::filesystem::path& path) {
  std::error_code error;
  const auto folder = std::filesystem::current_path(error);
  return path.is_relative() && !error ? fmt::format("; relative paths start at {}", folder.string()) : std::string{};
}

InputFile::InputFile(std::filesystem::path path, ExitCode code, int descriptor, std::int64_t num_bytes)
    : path_(std::move(path)), code_(code), descriptor_(descriptor), num_bytes_(num_bytes) {}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      code_(other.code_),
      descriptor_(std::exchange(other.descriptor_, -1)),
      num_bytes_(other.num_bytes_) {}

InputFile& InputFile::operator=(InputFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(code_, other.code_);
  std::swap(descriptor_, other.descriptor_);
  std::swap(num_bytes_, other.num_bytes_);
  return *this;
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile InputFile::open(const std::filesystem::path& path, ExitCode code) {
  // O_NONBLOCK: opening a pipe that nobody writes to would wait for ever; it has no effect on files.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) {
    throw Failure{code, fmt::format("cannot open {} ({}{}) check the path", path.string(), std::strerror(errno),
                                    where_relative_paths_start(path))};
  }
  InputFile file(path, code, descriptor, 0);
  struct stat status {};
  if (::fstat(descriptor, &status) != 0) {
    throw Failure{code,
                  fmt::format("cannot look at {} ({}) check the file system", path.string(), std::strerror(errno))};
  }
  if (S_ISDIR(status.st_mode)) {
    throw Failure{code, fmt::format("cannot read {} (it is a folder) name a file in it", path.string())};
  }
  if (!S_ISREG(status.st_mode)) {
    throw Failure{code, fmt::format("cannot read {} (it is not a regular file) copy its content into a file first",
                                    path.string())};
  }
  file.num_bytes_ = status.st_size;
  return file;
}

void InputFile::read(std::int64_t offset, std::span<char> out) const {
  std::size_t done = 0;
  while (done < out.size()) {
    const auto got = ::pread(descriptor_, out.data() + done, out.size() - done, offset + static_cast<off_t>(done));
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == 0) {
      throw Failure{code_, fmt::format("{} ends at byte {} (it had {} bytes when it was opened) do not change files "
                                       "that a job reads",
                                       path_.string(), offset + static_cast<std::int64_t>(done), num_bytes_)};
    } else if (errno != EINTR) {
      throw Failure{code_, fmt::format("cannot read {} at byte {} ({}) check the file system", path_.string(),
                                       offset + static_cast<std::int64_t>(done), std::strerror(errno))};
    }
  }
}

std::string read_text_file(const std::filesystem::path& path, std::int64_t max_bytes, ExitCode code) {
  const auto file = InputFile::open(path, code);
  if (file.num_bytes() > max_bytes) {
    throw Failure{code, fmt::format("{} is too large ({} bytes; at most {} are read) check that this is the right file",
                                    path.string(), file.num_bytes(), max_bytes)};
  }
  std::string text(static_cast<std::size_t>(file.num_bytes()), '\0');
  file.read(0, text);
  return text;
}

}  // namespace moebius::io
