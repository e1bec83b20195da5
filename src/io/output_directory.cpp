// SPDX-License-Identifier: Apache-2.0
#include "io/output_directory.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>
#include <system_error>
#include <vector>

#include "base/failure.hpp"
#include "base/hash.hpp"
#include "io/durable_file.hpp"
#include "io/journal.hpp"

namespace moebius::io {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t name_hash_digits = 8;
constexpr std::string_view temporary_suffix = ".h5.tmp";
/// Run numbers from here on are of files that only try whether the folder can be written.
constexpr std::int64_t probe_runs = std::int64_t{1} << 40;

[[noreturn]] void refuse(const fs::path& directory, std::string_view why, std::string_view what_to_do) {
  throw Failure{ExitCode::bad_usage,
                fmt::format("cannot use {} as output.path ({}) {}", directory.native(), why, what_to_do)};
}

/// Takes digits off the front of `text`; false where there are none or too many.
template <class Integer>
bool take_number(std::string_view& text, Integer& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || value < 0) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return true;
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool take_rank_and_sequence(std::string_view& name, BlockName& block) {
  return take(name, "r") && take_number(name, block.rank.value) && take(name, "-") && take_number(name, block.sequence);
}

/// There while results are being deleted: the journal of these results under another name, or an empty file.
fs::path discard_mark(const fs::path& directory) { return journal_path(directory).concat(".discarded"); }

/// Files in `directory` that a run has written, in the order in which they may be deleted: first those
/// that make the folder look like a result.
std::vector<fs::path> our_files(const fs::path& directory) {
  std::vector<fs::path> files;
  for (const fs::path& file : {master_path(directory), journal_path(directory)})
    if (fs::exists(fs::symlink_status(file))) files.push_back(file);
  const fs::path temporary_master = master_path(directory).concat(".tmp");
  if (fs::exists(fs::symlink_status(temporary_master))) files.push_back(temporary_master);
  if (!fs::is_directory(blocks_path(directory))) return files;
  for (const fs::directory_entry& entry : fs::directory_iterator(blocks_path(directory))) {
    const std::string name = entry.path().filename().native();
    if (parse_block_name(name) || is_temporary_name(name)) files.push_back(entry.path());
  }
  return files;
}

bool has_no_record(const fs::path& directory) {
  const JournalContents journal = read_journal(directory);
  return journal.starts.empty() && journal.records.empty() && journal.damaged_lines.empty();
}

/// From here on, also when this process is killed, the results in the folder are no more, and whatever is left of them may be
/// deleted: one rename, durable before the first file goes.
void discard(const fs::path& directory) {
  const fs::path mark = discard_mark(directory);
  if (fs::exists(fs::symlink_status(journal_path(directory)))) {
    fs::rename(journal_path(directory), mark);
  } else if (FileDescriptor(::open(mark.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666)).get() < 0) {
    os_failed("create", mark);
  }
  sync_directory(directory);
}

/// The first of these files that may not be deleted without --force-new.
std::optional<fs::path> find_result(const fs::path& directory, const std::vector<fs::path>& files) {
  for (const fs::path& file : files) {
    // Of a run that ended before it committed the file, or before its very first record.
    const bool leftover = file.extension() == ".tmp" || (file == journal_path(directory) && has_no_record(directory));
    if (!leftover) return file;
  }
  return {};
}

void make_directories(const fs::path& directory) {
  // Walked from the top, so that the message names the part that is in the way.
  fs::path part;
  for (const fs::path& name : fs::absolute(blocks_path(directory))) {
    part /= name;
    std::error_code error;
    const fs::file_status status = fs::status(part, error);
    if (fs::exists(status) && !fs::is_directory(status))
      refuse(directory, fmt::format("{} is a file, not a folder", part.native()), "choose another output.path");
    if (fs::exists(status)) continue;
    if (!fs::create_directory(part, error) && error && !is_about_the_path(error.value())) {
      errno = error.value();
      os_failed("make the folder", part);
    }
    if (error)
      refuse(directory, fmt::format("cannot make the folder {}: {}", part.native(), error.message()),
             "choose a place that you may write to");
    sync_directory(part.parent_path());
  }
}

/// A file with a few bytes, synced: finds missing permissions, read-only and full file systems.
void try_to_write(const fs::path& directory) {
  // No name that a block is written under: another job may be at work here, or look at the same moment.
  const fs::path probe = blocks_path(directory) / temporary_block_name({.rank = RankId(0), .sequence = 0}, probe_runs + ::getpid());
  const int fd = ::open(probe.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0 && !is_about_the_path(errno)) os_failed("create", probe);
  if (fd < 0) refuse(directory, std::strerror(errno), "choose a place that you may write to");
  const FileDescriptor file(fd);
  constexpr std::string_view text = "moebius writes here\n";
  const bool written = ::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  if (!written || ::fsync(fd) != 0) os_failed("write to", probe);
  if (::unlink(probe.c_str()) != 0) os_failed("delete", probe);
}

}  // namespace

fs::path blocks_path(const fs::path& directory) { return directory / "blocks"; }
fs::path master_path(const fs::path& directory) { return directory / "results.h5"; }

std::string block_name(const BlockName& block, std::uint64_t checksum) {
  return fmt::format("r{}-{}-{}.h5", block.rank.value, block.sequence, to_hex(checksum).substr(0, name_hash_digits));
}

std::string temporary_block_name(const BlockName& block, std::int64_t run) {
  return fmt::format("r{}-{}-{}{}", block.rank.value, block.sequence, run, temporary_suffix);
}

std::optional<BlockName> parse_block_name(std::string_view name) {
  BlockName block;
  if (!take_rank_and_sequence(name, block) || !take(name, "-")) return {};
  if (name.size() != name_hash_digits + 3 || name.substr(name_hash_digits) != ".h5") return {};
  if (name.find_first_not_of("0123456789abcdef") != name_hash_digits) return {};
  return block;
}

bool is_temporary_name(std::string_view name) {
  BlockName block;
  std::int64_t run = 0;
  return take_rank_and_sequence(name, block) && take(name, "-") && take_number(name, run) && name == temporary_suffix;
}

void make_output_directory(const fs::path& directory) {
  if (directory.empty()) refuse(directory, "it is empty", "set output.path in the job file");
  try {
    make_directories(directory);
    try_to_write(directory);
    sync_directory(directory);
  } catch (const fs::filesystem_error& error) {
    refuse(directory, error.what(), "check its permissions, or choose another output.path");
  }
}

void prepare_output_directory(const fs::path& directory, OnExisting on_existing) {
  make_output_directory(directory);
  try {
    const fs::path mark = discard_mark(directory);
    bool discarded = fs::exists(fs::symlink_status(mark));
    if (const auto result = discarded ? std::nullopt : find_result(directory, our_files(directory))) {
      if (on_existing == OnExisting::resume)
        refuse(directory, fmt::format("it already holds results: {}", result->filename().native()),
               "choose another output.path, or pass --force-new to delete those results");
      discard(directory);
      discarded = true;
    }
    for (const fs::path& file : our_files(directory)) fs::remove(file);
    if (discarded) {
      sync_directory(blocks_path(directory));
      fs::remove(mark);
    }
    sync_directory(directory);
  } catch (const fs::filesystem_error& error) {
    refuse(directory, error.what(), "check its permissions, or choose another output.path");
  }
}

}  // namespace moebius::io
