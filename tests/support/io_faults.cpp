// SPDX-License-Identifier: Apache-2.0
// A shared library for LD_PRELOAD that makes the disk fail, the process die, or memory run out, at a chosen operation. It
// stands between the program and the system calls that change files, so that what is tested is the program as it is,
// including what HDF5 writes.
//
//   MOEBIUS_FAULT_DIR   the folder whose files count (an absolute path); nothing else is touched
//   MOEBIUS_FAULT       ACTION@N: what happens at the N-th operation (from 1) of this process
//   MOEBIUS_FAULT_RANK  only on this rank; default: on all
//   MOEBIUS_FAULT_LOG   a file that gets a line "pid <rank> <pid>" at the start, "fault <operation> <file>" at the fault
//
// Operations: creating a file, write, fsync, rename, truncate, unlink, mkdir. Actions: `kill` (SIGKILL before it), `torn`
// (half of a write, then SIGKILL), `job` (SIGKILL to all ranks of this machine), `launcher` (SIGKILL to the parent), `stop`
// (SIGSTOP), `eio` (fails once), `full` (this and all later ones that need room fail with ENOSPC), `short` (half of a write),
// `slow` (two seconds), `nolocks` (from the first operation on this file system has no fcntl locks), `watch` (nothing, but
// the log gets a line "change <operation> <file>" for each that has a name).
// Memory: `nomem` (no allocation of N MiB and more from the heap), `nomap` (no private mapping of that size) and `stopmap`
// (SIGSTOP before the first such mapping: while weights are loaded).
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace {

constexpr int max_descriptors = 1024;

enum class Kind { create, write, fsync, rename, truncate, unlink, mkdir };
constexpr const char* kind_names[] = {"create", "write", "fsync", "rename", "truncate", "unlink", "mkdir"};  // [Kind]

struct Faults {
  const char* folder = nullptr;
  const char* log = nullptr;
  char action[16] = "";
  long at = 0;
  long num_operations = 0;
  bool full = false;
  bool is_ours[max_descriptors] = {};
};
Faults faults;

bool below(const char* path) {
  return faults.folder != nullptr && path != nullptr && std::strncmp(path, faults.folder, std::strlen(faults.folder)) == 0;
}
bool is_ours(int fd) { return fd >= 0 && fd < max_descriptors && faults.is_ours[fd]; }
bool acts(const char* action) { return std::strcmp(faults.action, action) == 0; }

void log_line(const char* a, const char* b, const char* c) {
  if (faults.log == nullptr) return;
  char line[512];
  const int length = std::snprintf(line, sizeof line, "%s %s %s\n", a, b, c);
  const long fd = syscall(SYS_openat, AT_FDCWD, faults.log, O_WRONLY | O_CREAT | O_APPEND, 0666);
  if (fd >= 0) {
    syscall(SYS_write, fd, line, length);
    syscall(SYS_close, fd);
  }
}

void kill_self() {
  kill(getpid(), SIGKILL);
  while (true) pause();
}

/// The children of the launcher are the ranks; this one goes last.
void kill_job() {
  char path[64];
  std::snprintf(path, sizeof path, "/proc/%d/task/%d/children", getppid(), getppid());
  char children[4096] = "";
  const long fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY, 0);
  const long got = fd >= 0 ? syscall(SYS_read, fd, children, sizeof children - 1) : 0;
  children[got > 0 ? got : 0] = '\0';
  char* rest = children;
  for (char* pid = strtok_r(children, " ", &rest); pid != nullptr; pid = strtok_r(nullptr, " ", &rest)) {
    if (atoi(pid) != getpid()) kill(atoi(pid), SIGKILL);
  }
  kill_self();
}

enum class Outcome { go_on, fail, half };

/// Called before every operation; does not return where the process dies. `fail` has set errno.
Outcome before(Kind kind, const char* name) {
  const bool needs_room = kind == Kind::create || kind == Kind::write || kind == Kind::mkdir;
  if (acts("watch") && kind != Kind::write && kind != Kind::fsync && kind != Kind::truncate) log_line("change", kind_names[static_cast<int>(kind)], name);
  const bool now = ++faults.num_operations == faults.at;
  if (now) {
    log_line("fault", kind_names[static_cast<int>(kind)], name);
    if (acts("kill") || (acts("torn") && kind != Kind::write)) kill_self();
    if (acts("job")) kill_job();
    if (acts("launcher")) kill(getppid(), SIGKILL);
    if (acts("stop")) kill(getpid(), SIGSTOP);
    if (acts("full")) faults.full = true;
    if (acts("slow")) {
      const timespec two_seconds{.tv_sec = 2, .tv_nsec = 0};
      nanosleep(&two_seconds, nullptr);
    }
    if (acts("eio")) {
      errno = EIO;
      return Outcome::fail;
    }
  }
  if (faults.full && needs_room) {
    errno = ENOSPC;
    return Outcome::fail;
  }
  return now && kind == Kind::write && (acts("torn") || acts("short")) ? Outcome::half : Outcome::go_on;
}

bool refused(const char* action, std::size_t bytes) {
  if (!acts(action) || bytes < static_cast<std::size_t>(faults.at) << 20) return false;
  log_line("fault", action, "memory");
  errno = ENOMEM;
  return true;
}

void stop_before_mapping(std::size_t bytes) {
  static bool stopped = false;
  if (stopped || !acts("stopmap") || bytes < static_cast<std::size_t>(faults.at) << 20) return;
  stopped = true;
  log_line("fault", "stopmap", "memory");
  kill(getpid(), SIGSTOP);
}

template <class Write>
ssize_t faulty_write(int fd, std::size_t bytes, Write write) {
  if (!is_ours(fd)) return write(bytes);
  const Outcome outcome = before(Kind::write, "descriptor");
  if (outcome == Outcome::fail) return -1;
  if (outcome == Outcome::go_on || bytes < 2) return write(bytes);
  const ssize_t written = write(bytes / 2);
  if (acts("torn")) kill_self();
  return written;
}

int faulty_open(int folder, const char* path, int flags, mode_t mode) {
  const bool ours = below(path);
  struct stat about {};
  const bool creates = ours && (flags & O_CREAT) != 0 && stat(path, &about) != 0;
  if (creates && before(Kind::create, path) == Outcome::fail) return -1;
  const int fd = static_cast<int>(syscall(SYS_openat, folder, path, flags, mode));
  if (fd >= 0 && fd < max_descriptors) faults.is_ours[fd] = ours;
  return fd;
}

mode_t mode_of(int flags, va_list arguments) { return (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0; }

__attribute__((constructor)) void begin() {
  const char* rank = getenv("OMPI_COMM_WORLD_RANK");
  rank = rank == nullptr ? getenv("PMI_RANK") : rank;  // MPICH
  rank = rank == nullptr ? "0" : rank;
  faults.log = getenv("MOEBIUS_FAULT_LOG");
  char pid[32];
  std::snprintf(pid, sizeof pid, "%d", getpid());
  log_line("pid", rank, pid);
  const char* only = getenv("MOEBIUS_FAULT_RANK");
  const char* fault = getenv("MOEBIUS_FAULT");
  if (fault == nullptr || (only != nullptr && std::strcmp(only, rank) != 0)) return;
  if (std::sscanf(fault, "%15[a-z]@%ld", faults.action, &faults.at) != 2) {
    std::fprintf(stderr, "io_faults: MOEBIUS_FAULT=%s (it is not ACTION@N) correct it\n", fault);
    _exit(2);
  }
  faults.folder = getenv("MOEBIUS_FAULT_DIR");
}

}  // namespace

static int control_file(int fd, int command, void* argument) {
  if (command == F_SETLK && acts("nolocks") && is_ours(fd)) {
    errno = ENOSYS;
    return -1;
  }
  return static_cast<int>(syscall(SYS_fcntl, fd, command, argument));
}

extern "C" {

void* __libc_malloc(size_t bytes);
void* __libc_calloc(size_t count, size_t bytes);
void* __libc_realloc(void* memory, size_t bytes);
void* __libc_memalign(size_t alignment, size_t bytes);

void* malloc(size_t bytes) { return refused("nomem", bytes) ? nullptr : __libc_malloc(bytes); }

void* calloc(size_t count, size_t bytes) { return refused("nomem", count * bytes) ? nullptr : __libc_calloc(count, bytes); }

void* realloc(void* memory, size_t bytes) { return refused("nomem", bytes) ? nullptr : __libc_realloc(memory, bytes); }

void* aligned_alloc(size_t alignment, size_t bytes) { return refused("nomem", bytes) ? nullptr : __libc_memalign(alignment, bytes); }

int posix_memalign(void** memory, size_t alignment, size_t bytes) {
  if (refused("nomem", bytes)) return ENOMEM;
  *memory = __libc_memalign(alignment, bytes);
  return *memory == nullptr ? ENOMEM : 0;
}

void* mmap(void* at, size_t bytes, int protection, int flags, int fd, off_t offset) noexcept {
  if ((flags & MAP_PRIVATE) != 0 && (flags & MAP_ANONYMOUS) != 0) {
    stop_before_mapping(bytes);
    if (refused("nomap", bytes)) return MAP_FAILED;
  }
  return reinterpret_cast<void*>(syscall(SYS_mmap, at, bytes, protection, flags, fd, offset));
}

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return faulty_open(AT_FDCWD, path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_of(flags, arguments);
  va_end(arguments);
  return faulty_open(AT_FDCWD, path, flags, mode);
}

int close(int fd) {
  if (fd >= 0 && fd < max_descriptors) faults.is_ours[fd] = false;
  return static_cast<int>(syscall(SYS_close, fd));
}

ssize_t write(int fd, const void* bytes, size_t count) {
  return faulty_write(fd, count, [&](size_t part) { return static_cast<ssize_t>(syscall(SYS_write, fd, bytes, part)); });
}

ssize_t pwrite(int fd, const void* bytes, size_t count, off_t offset) {
  return faulty_write(fd, count, [&](size_t part) { return static_cast<ssize_t>(syscall(SYS_pwrite64, fd, bytes, part, offset)); });
}

ssize_t pwrite64(int fd, const void* bytes, size_t count, off64_t offset) {
  return faulty_write(fd, count, [&](size_t part) { return static_cast<ssize_t>(syscall(SYS_pwrite64, fd, bytes, part, offset)); });
}

int fsync(int fd) {
  if (is_ours(fd) && before(Kind::fsync, "descriptor") == Outcome::fail) return -1;
  return static_cast<int>(syscall(SYS_fsync, fd));
}

int ftruncate(int fd, off_t length) noexcept {
  if (is_ours(fd) && before(Kind::truncate, "descriptor") == Outcome::fail) return -1;
  return static_cast<int>(syscall(SYS_ftruncate, fd, length));
}

int ftruncate64(int fd, off64_t length) noexcept {
  if (is_ours(fd) && before(Kind::truncate, "descriptor") == Outcome::fail) return -1;
  return static_cast<int>(syscall(SYS_ftruncate, fd, length));
}

int rename(const char* from, const char* to) noexcept {
  if (below(to) && before(Kind::rename, to) == Outcome::fail) return -1;
  return static_cast<int>(syscall(SYS_rename, from, to));
}

int unlink(const char* path) noexcept {
  if (below(path) && before(Kind::unlink, path) == Outcome::fail) return -1;
  return static_cast<int>(syscall(SYS_unlink, path));
}

int remove(const char* path) noexcept {
  if (below(path) && before(Kind::unlink, path) == Outcome::fail) return -1;
  const int code = static_cast<int>(syscall(SYS_unlink, path));
  return code != 0 && errno == EISDIR ? static_cast<int>(syscall(SYS_rmdir, path)) : code;
}

int mkdir(const char* path, mode_t mode) noexcept {
  if (below(path) && before(Kind::mkdir, path) == Outcome::fail) return -1;
  return static_cast<int>(syscall(SYS_mkdir, path, mode));
}

int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return control_file(fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return control_file(fd, command, argument);
}

}  // extern "C"
