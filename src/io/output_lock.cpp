// SPDX-License-Identifier: Apache-2.0
#include "io/output_lock.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <thread>

#include "base/clock.hpp"
#include "base/failure.hpp"
#include "io/utc_time.hpp"

namespace moebius::io {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::chrono::milliseconds poll_period{20};
constexpr std::size_t max_text_bytes = 4096;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Field 22 of /proc/<pid>/stat; -1 where there is no such process or no /proc.
std::int64_t start_ticks_of(std::int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string text((std::istreambuf_iterator<char>(file)), {});
  const std::size_t name_end = text.rfind(')');  // the name of a program may hold anything
  if (name_end == std::string::npos) return -1;
  std::istringstream fields(text.substr(name_end + 1));
  std::string skipped;
  for (int field = 3; field < 22; ++field) fields >> skipped;
  std::int64_t ticks = -1;
  fields >> ticks;
  return fields ? ticks : -1;
}

std::string text_in(const FileDescriptor& file) {
  std::string text(max_text_bytes, '\0');
  const ssize_t got = ::pread(file.get(), text.data(), text.size(), 0);
  text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
  return text;
}

enum class Attempt : std::uint8_t { held, held_by_other, no_locks };

Attempt try_lock(const FileDescriptor& file, const std::filesystem::path& path) {
  struct flock whole {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(file.get(), F_SETLK, &whole) == 0) return Attempt::held;
  if (errno == EACCES || errno == EAGAIN || errno == EINTR) return Attempt::held_by_other;
  if (errno == ENOSYS || errno == ENOTSUP || errno == EINVAL || errno == ENOLCK) return Attempt::no_locks;
  os_failed("lock", path);
}

/// False where another process has removed the file since this one opened it.
bool is_still_there(const FileDescriptor& file, const std::filesystem::path& path) {
  struct stat opened {}, named {};
  return ::fstat(file.get(), &opened) == 0 && ::stat(path.c_str(), &named) == 0 && opened.st_ino == named.st_ino &&
         opened.st_dev == named.st_dev;
}

[[noreturn]] void refuse(const std::filesystem::path& path, std::string_view why, std::string_view what_to_do) {
  throw Failure{ExitCode::bad_usage, fmt::format("cannot use {} as output.path ({}) {}", path.parent_path().native(), why, what_to_do)};
}

void write_owner(const FileDescriptor& file, const std::filesystem::path& path) {
  const std::string text = to_text(this_process()) + '\n';
  if (::ftruncate(file.get(), 0) != 0) os_failed("empty", path);
  const ssize_t written = ::pwrite(file.get(), text.data(), text.size(), 0);
  if (written < 0) os_failed("write to", path);
  if (static_cast<std::size_t>(written) != text.size()) {
    errno = ENOSPC;
    os_failed("write to", path);
  }
}

struct OpenedLock {
  FileDescriptor file;
  bool created = false;
};

OpenedLock open_lock(const std::filesystem::path& path) {
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (fd >= 0) return {FileDescriptor(fd), true};
  if (!is_about_the_path(errno)) os_failed("create", path);
  if (errno != EEXIST) refuse(path, std::strerror(errno), "choose a place that you may write to");
  fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0 && errno != ENOENT) refuse(path, std::strerror(errno), "check the permissions of the file lock in it");
  return {FileDescriptor(fd), false};  // invalid where it was removed in between
}

}  // namespace

std::filesystem::path lock_path(const std::filesystem::path& directory) { return directory / "lock"; }

ProcessName this_process() {
  char host[256] = {};
  ::gethostname(host, sizeof host - 1);
  return {.host = host,
          .pid = ::getpid(),
          .start_ticks = start_ticks_of(::getpid()),
          .slurm_job = environment("SLURM_JOB_ID"),
          .slurm_restart = std::atoll(environment("SLURM_RESTART_COUNT").c_str()),
          .utc = utc_now()};
}

std::string to_text(const ProcessName& process) {
  return Json{{"host", process.host},           {"pid", process.pid},
              {"start_ticks", process.start_ticks}, {"slurm_job", process.slurm_job},
              {"slurm_restart", process.slurm_restart}, {"utc", process.utc}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::optional<ProcessName> process_from_text(std::string_view text) {
  try {
    const Json json = Json::parse(text);
    return ProcessName{.host = json.at("host").get<std::string>(),
                       .pid = json.at("pid").get<std::int64_t>(),
                       .start_ticks = json.at("start_ticks").get<std::int64_t>(),
                       .slurm_job = json.at("slurm_job").get<std::string>(),
                       .slurm_restart = json.at("slurm_restart").get<std::int64_t>(),
                       .utc = json.at("utc").get<std::string>()};
  } catch (const Json::exception&) {
    return {};
  }
}

std::string describe(const ProcessName& process) {
  return fmt::format("host {}, pid {}{}, since {}", process.host, process.pid,
                     process.slurm_job.empty() ? "" : ", Slurm job " + process.slurm_job, process.utc);
}

bool is_gone(const ProcessName& other, const ProcessName& me) {
  if (other.host == me.host) {
    const bool there = ::kill(static_cast<pid_t>(other.pid), 0) == 0 || errno == EPERM;
    return !there || start_ticks_of(other.pid) != other.start_ticks;
  }
  return !me.slurm_job.empty() && other.slurm_job == me.slurm_job && other.slurm_restart < me.slurm_restart;
}

OutputLock OutputLock::acquire(const std::filesystem::path& directory, double patience_s) {
  const std::filesystem::path path = lock_path(directory);
  const double deadline_s = now_s() + patience_s;
  std::optional<ProcessName> owner;
  do {
    OpenedLock opened = open_lock(path);
    if (opened.file.get() < 0) continue;
    Attempt attempt = try_lock(opened.file, path);
    if (attempt == Attempt::held && !is_still_there(opened.file, path)) continue;
    owner = process_from_text(text_in(opened.file));
    if (attempt == Attempt::no_locks && opened.created) attempt = Attempt::held;
    if (attempt == Attempt::held) {
      write_owner(opened.file, path);
      OutputLock lock(path, std::move(opened.file));
      lock.taken_over_from_ = owner;
      return lock;
    }
    if (attempt == Attempt::no_locks && owner && is_gone(*owner, this_process())) ::unlink(path.c_str());
    else std::this_thread::sleep_for(poll_period);
  } while (now_s() < deadline_s);
  refuse(path, owner ? "another job writes there: " + describe(*owner) : "another job writes there; it is not known which",
         "wait until it has ended, or choose another output.path; if you know that it is dead, delete the file lock in that folder");
}

void OutputLock::release() noexcept {
  if (file_.get() < 0) return;
  ::unlink(path_.c_str());
  file_ = FileDescriptor();
}

}  // namespace moebius::io
