// SPDX-License-Identifier: Apache-2.0
#pragma once
// One job at a time writes to a result folder: rank 0 holds <output.path>/lock while its run lasts. The file
// says who that is, for the message that a second job ends with.
//
// What decides is an fcntl lock on the file, which the kernel (or the server of a network file system) gives
// back when its holder dies, however it dies. Where the file system has no such locks, the existence of the
// file decides, and what it says: its owner is gone where it ran on this host and its process is no more, or
// where it was an earlier start of the same Slurm job.

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "io/durable_file.hpp"

namespace moebius::io {

/// A process as others can recognise it.
struct ProcessName {
  std::string host;
  std::int64_t pid = 0;
  std::int64_t start_ticks = 0;  ///< when it began, in ticks of its host: a pid is given out again, this is not
  std::string slurm_job;         ///< empty outside of Slurm
  std::int64_t slurm_restart = 0;
  std::string utc;  ///< since when, for people

  bool operator==(const ProcessName&) const = default;
};
ProcessName this_process();
/// One line of JSON, and back; nothing where the text is something else.
std::string to_text(const ProcessName& process);
std::optional<ProcessName> process_from_text(std::string_view text);
/// "host n3, pid 4711, Slurm job 99, since 2025-11-23T22:57:01Z"
std::string describe(const ProcessName& process);

/// Is `other` certainly dead, judged from the place of `me`?
bool is_gone(const ProcessName& other, const ProcessName& me);

class OutputLock {
 public:
  /// The folder exists. A holder gets `patience_s` to end, since the ranks of a job that was killed do not all
  /// die at once; then Failure(bad_usage) names it. Failure(bad_usage) also where the folder cannot be written.
  static OutputLock acquire(const std::filesystem::path& directory, double patience_s = 5.0);
  OutputLock(OutputLock&&) noexcept = default;
  OutputLock& operator=(OutputLock&&) = delete;
  ~OutputLock() { release(); }
  /// Removes the file and lets others in.
  void release() noexcept;

  /// The dead process whose lock this was before.
  [[nodiscard]] const std::optional<ProcessName>& taken_over_from() const { return taken_over_from_; }

 private:
  OutputLock(std::filesystem::path path, FileDescriptor file) : path_(std::move(path)), file_(std::move(file)) {}
  std::filesystem::path path_;
  FileDescriptor file_;
  std::optional<ProcessName> taken_over_from_;
};

std::filesystem::path lock_path(const std::filesystem::path& directory);

}  // namespace moebius::io
