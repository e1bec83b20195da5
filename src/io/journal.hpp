// SPDX-License-Identifier: Apache-2.0
#pragma once
// The journal of a result folder: which runs there were and which row blocks are committed. A block counts
// from the moment its record is in the journal, synced; before that it is as if never written.
// Text, one record a line: 16 hexadecimal digits (xxh3 of the rest of the line), a space, a JSON object.
//
// Why nothing is lost or mixed: a record is written to a file opened for appending, under an fcntl
// lock that also covers ranks of other nodes on a shared file system; a rank that dies while writing
// leaves at most one line without its newline, which readers skip and the next writer cuts off.
// Why nothing is there twice: each run begins with a start record and knows its number; a record that a
// rank of an earlier run appends behind it, because nobody has told it yet that its job is dead, is late and
// does not count. FORMAT.md has the whole argument.

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/hash.hpp"
#include "base/ids.hpp"
#include "io/durable_file.hpp"

namespace moebius::io {

enum class RecordKind : std::uint8_t {
  block,
  master,
  withdrawn,  ///< a block that was committed and is no longer there: its rows are computed again
};

struct JournalRecord {
  RecordKind kind = RecordKind::block;
  std::int64_t run = 0;       ///< of the folder: 0 for the first, one more for each resume
  std::string file;           ///< inside the result folder: "blocks/r0-3-5f1c09ab.h5" or "results.h5"
  RankId rank;                ///< who wrote it
  std::int64_t sequence = 0;  ///< of the blocks of one rank, from 0
  std::int64_t num_rows = 0;
  std::int64_t num_tokens = 0;
  std::int64_t num_failed = 0;  ///< rows whose status is not a success
  std::uint64_t checksum = 0;   ///< xxh3 of the bytes of the file
  Digest128 digest;             ///< sum of the digests of its rows
  std::string job_fingerprint;
  std::string utc;  ///< when it was committed

  bool operator==(const JournalRecord&) const = default;
};

/// What results depend on beside the program's own rules: names and values, such as "model.compute", "bf16".
using JobFacts = std::vector<std::pair<std::string, std::string>>;
/// 16 hexadecimal digits over all names and values.
std::string fingerprint(const JobFacts& facts);
/// For every fact that is not the same in both, a text with its name and both values.
std::vector<std::string> differences(const JobFacts& then, const JobFacts& now);
/// The fact that only a shard has; all others are those of the undivided job.
inline constexpr const char* shard_fact = "the shard";

/// The beginning of a run, of the first or of one that resumes it.
struct StartRecord {
  std::int64_t run = 0;
  JobFacts facts;
  std::string host;       ///< of rank 0
  std::int64_t pid = 0;   ///< of rank 0
  std::string slurm_job;  ///< empty outside of Slurm
  int num_ranks = 0;
  std::string utc;  ///< for people: nothing is decided by it, clocks go back

  bool operator==(const StartRecord&) const = default;
};

/// One line of the journal without its newline, and back; false where the line is damaged or of the other form.
std::string to_line(const JournalRecord& record);
std::string to_line(const StartRecord& record);
bool parse_line(std::string_view line, JournalRecord& record);
bool parse_line(std::string_view line, StartRecord& record);

/// The writing end; every rank that commits blocks has one.
class Journal {
 public:
  /// Opens (creates) the journal of `directory`.
  explicit Journal(const std::filesystem::path& directory);
  /// Returns once the record is on the disk. Failure if the lock is not to be had within a minute.
  void append(const JournalRecord& record) { append_line(to_line(record)); }
  void append(const StartRecord& record) { append_line(to_line(record)); }

 private:
  void append_line(std::string line);
  void write_line(std::string_view line) const;
  std::filesystem::path path_;
  FileDescriptor file_;
};

struct JournalContents {
  std::vector<StartRecord> starts;          ///< in the order of the file
  std::vector<JournalRecord> records;       ///< those that count, in the order of the file
  std::int64_t num_late = 0;                ///< records of a run behind the start of the next one: they do not count
  std::vector<std::int64_t> damaged_lines;  ///< 1-based; not the torn last line
  std::int64_t torn_bytes = 0;              ///< of a last line without newline: a record that was not committed

  /// The newest record of results.h5, or nullptr.
  [[nodiscard]] const JournalRecord* master() const;
  /// The committed blocks: recorded and not withdrawn.
  [[nodiscard]] std::vector<JournalRecord> blocks() const;
  /// The number of the newest run; 0 where no run is named.
  [[nodiscard]] std::int64_t run() const { return starts.empty() ? 0 : starts.back().run; }
};

std::filesystem::path journal_path(const std::filesystem::path& directory);
/// Failure(unreadable_input) where there is no journal; damage is reported, not thrown.
JournalContents read_journal(const std::filesystem::path& directory);

}  // namespace moebius::io
