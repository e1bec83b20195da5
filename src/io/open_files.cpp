// SPDX-License-Identifier: Apache-2.0
#include "io/open_files.hpp"

#include <sys/resource.h>

#include <algorithm>
#include <limits>

namespace moebius::io {
namespace {

// The program's own files: libraries, sockets and shared memory of MPI, the log, the checkpoint.
constexpr std::int64_t num_other_files = 128;

rlimit open_file_limit() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  return limit;
}

}  // namespace

ManyOpenFiles::ManyOpenFiles() : limit_before_(open_file_limit().rlim_cur) {
  rlimit limit = open_file_limit();
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);  // where this is refused, room() tells
}

ManyOpenFiles::~ManyOpenFiles() {
  rlimit limit = open_file_limit();
  limit.rlim_cur = limit_before_;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

std::int64_t ManyOpenFiles::room() {
  constexpr auto most = static_cast<rlim_t>(std::numeric_limits<std::int32_t>::max());
  return std::max<std::int64_t>(
      0, static_cast<std::int64_t>(std::min(open_file_limit().rlim_cur, most)) - num_other_files);
}

}  // namespace moebius::io
