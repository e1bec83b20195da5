// SPDX-License-Identifier: Apache-2.0
#include "io/results_verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "base/failure.hpp"
#include "io/durable_file.hpp"
#include "io/hdf5_data.hpp"
#include "io/journal.hpp"
#include "io/open_files.hpp"
#include "io/output_directory.hpp"
#include "io/row_digest.hpp"
#include "io/rows_file.hpp"

namespace moebius::io {
namespace {

namespace fs = std::filesystem;

// A window of rows held in memory at once: with 20 top-k entries a token about 100 MB.
constexpr std::int64_t window_rows = 16384, window_tokens = std::int64_t{1} << 18;

using RowKey = std::pair<std::int64_t, std::int32_t>;  // input_line, choice_idx

/// What reading all rows of a file found.
struct RowsSeen {
  Digest128 digest;
  std::int64_t num_missing = 0, num_failed = 0, num_wrong_digests = 0, num_out_of_order = 0;
  std::vector<RowKey> keys;  // of the rows that are there, in the order of the file
};

void look_at_rows(const RowColumns& columns, RowsSeen& seen) {
  const std::vector<Row> rows = to_rows(columns);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const Digest128 digest = row_digest(rows[i]);
    if (digest != Digest128{.low = columns.digest_low[i], .high = columns.digest_high[i]}) ++seen.num_wrong_digests;
    seen.digest += digest;
    if (!succeeded(rows[i].status)) ++seen.num_failed;
    const RowKey key{rows[i].input_line, rows[i].choice_idx};
    if (!seen.keys.empty() && key <= seen.keys.back()) ++seen.num_out_of_order;
    seen.keys.push_back(key);
  }
}

RowsSeen read_all_rows(const RowsFile& file) {
  RowsSeen seen;
  for (std::int64_t first = 0, count = 0; first < file.num_rows(); first += count) {
    count = file.rows_within(first, window_rows, window_tokens);
    const RowColumns columns = file.read_columns(first, count);
    const auto missing = std::count(columns.status.begin(), columns.status.end(), missing_status);
    seen.num_missing += missing;
    if (missing == 0) look_at_rows(columns, seen);
  }
  return seen;
}

class Verification {
 public:
  explicit Verification(const fs::path& directory) : directory_(directory), journal_(read_journal(directory)) {}

  VerifyReport run() {
    check_journal();
    for (const JournalRecord& record : journal_.blocks()) check_recorded_block(record);
    check_unique_rows();
    name_other_files();
    check_master();
    return std::move(report_);
  }

 private:
  template <class... Values>
  void problem(fmt::format_string<Values...> text, Values&&... values) {
    report_.problems.push_back(fmt::format(text, std::forward<Values>(values)...));
  }

  void check_journal() {
    for (const std::int64_t line : journal_.damaged_lines) problem("journal: line {} is damaged", line);
    if (journal_.torn_bytes > 0)
      report_.notes.push_back(
          fmt::format("journal: the last {} bytes are a record that was never committed", journal_.torn_bytes));
    if (journal_.num_late > 0)
      report_.notes.push_back(fmt::format("journal: {} records of a run that had already been replaced by the next one do not count", journal_.num_late));
    if (journal_.starts.size() > 1) report_.notes.push_back(fmt::format("journal: the job was resumed {} times", journal_.starts.size() - 1));
  }

  void check_recorded_block(const JournalRecord& record) {
    const fs::path name = record.file;
    if (name.parent_path() != "blocks" || !parse_block_name(name.filename().native()))
      return problem("journal: a record names {}, which is no block", record.file);
    if (!recorded_.insert(record.file).second) return problem("journal: {} is recorded twice", record.file);
    if (!fs::is_regular_file(directory_ / name)) return problem("{}: is missing", record.file);
    try {
      if (file_checksum(directory_ / name) != record.checksum)
        return problem("{}: its bytes differ from those that were committed", record.file);
      check_block_rows(record);
    } catch (const Failure& failure) {
      problem("{}: {}", record.file, failure.what());
    }
  }

  void check_block_rows(const JournalRecord& record) {
    const RowsFile file(directory_ / record.file);
    RowsSeen seen = read_all_rows(file);
    if (file.num_rows() != record.num_rows)
      problem("{}: {} rows, not {}", record.file, file.num_rows(), record.num_rows);
    if (file.num_tokens() != record.num_tokens)
      problem("{}: {} tokens, not {}", record.file, file.num_tokens(), record.num_tokens);
    if (seen.num_failed != record.num_failed)
      problem("{}: {} failed rows, not {}", record.file, seen.num_failed, record.num_failed);
    if (seen.num_missing > 0) problem("{}: {} rows without status", record.file, seen.num_missing);
    if (seen.num_out_of_order > 0) problem("{}: {} rows are out of order", record.file, seen.num_out_of_order);
    if (seen.num_wrong_digests > 0)
      problem("{}: the digests of {} rows do not fit the rows", record.file, seen.num_wrong_digests);
    if (seen.digest != record.digest) problem("{}: its digest is not the one in the journal", record.file);
    report_.num_blocks += 1;
    report_.num_rows += file.num_rows();
    report_.num_tokens += file.num_tokens();
    report_.num_failed += seen.num_failed;
    report_.digest += seen.digest;
    for (const RowKey& key : seen.keys) rows_.emplace_back(key, static_cast<std::int32_t>(files_.size()));
    files_.push_back(record.file);
  }

  void check_unique_rows() {
    std::sort(rows_.begin(), rows_.end());
    for (std::size_t i = 1; i < rows_.size(); ++i) {
      const auto& [key, file_idx] = rows_[i];
      if (key != rows_[i - 1].first) continue;
      problem("{} and {}: both hold input line {} choice {}", files_[static_cast<std::size_t>(rows_[i - 1].second)],
              files_[static_cast<std::size_t>(file_idx)], key.first, key.second);
    }
  }

  void name_other_files() {
    std::error_code error;
    std::set<std::string> names;  // sorted, so that the report does not depend on the file system
    for (const fs::directory_entry& entry : fs::directory_iterator(blocks_path(directory_), error))
      names.insert(entry.path().filename().native());
    if (error) problem("blocks: cannot be listed ({})", error.message());
    for (const std::string& name : names) {
      if (recorded_.contains("blocks/" + name)) continue;
      const char* what = is_temporary_name(name)  ? "was being written when a run ended"
                         : parse_block_name(name) ? "was never committed; its rows do not count"
                                                  : "is not ours";
      report_.notes.push_back(fmt::format("blocks/{}: {}", name, what));
    }
  }

  void check_master() {
    const fs::path path = master_path(directory_);
    if (!fs::is_regular_file(path))
      return problem("results.h5: is missing (the run did not come to its end, or the file was removed)");
    try {
      const JournalRecord* record = journal_.master();
      if (record == nullptr) problem("results.h5: the journal has no record of it");
      else if (file_checksum(path) != record->checksum)
        return problem("results.h5: its bytes differ from those that were committed");
      const ManyOpenFiles many;
      const RowsFile file(path);
      check_master_attributes(file);
      if (report_.num_blocks > ManyOpenFiles::room())
        return problem(
            "results.h5: cannot be read through, since {} open files are needed and {} allowed; raise "
            "`ulimit -n`",
            report_.num_blocks, ManyOpenFiles::room());
      check_master_rows(file);
    } catch (const Failure& failure) {
      problem("results.h5: {}", failure.what());
    }
  }

  void check_master_attributes(const RowsFile& file) {
    std::map<std::string, std::string> attributes;
    for (auto& [name, value] : read_attributes(file.file())) attributes.emplace(name, value);
    const auto expect = [&](const char* name, const std::string& wanted) {
      const auto found = attributes.find(name);
      if (found == attributes.end()) problem("results.h5: has no attribute {}", name);
      else if (found->second != wanted) problem("results.h5: says {} = {}, not {}", name, found->second, wanted);
    };
    expect("format_version", "1");
    if (report_.ok()) {  // else the sums lack the bad blocks, which have been named
      expect("num_blocks", std::to_string(report_.num_blocks));
      expect("num_rows", std::to_string(report_.num_rows));
      expect("num_tokens", std::to_string(report_.num_tokens));
      expect("num_failed", std::to_string(report_.num_failed));
      expect("invariance_digest", to_hex(report_.digest));
    }
    const std::string& expected = attributes["num_rows_expected"];
    const char* end = expected.data() + expected.size();
    if (std::from_chars(expected.data(), end, report_.num_rows_expected).ptr != end || expected.empty())
      problem("results.h5: has no attribute num_rows_expected");
    else if (report_.num_rows_expected != report_.num_rows)
      problem("results.h5: {} rows were expected, {} are there", report_.num_rows_expected, report_.num_rows);
  }

  void check_master_rows(const RowsFile& file) {
    const bool blocks_are_good = files_.size() == recorded_.size();
    if (blocks_are_good && file.num_rows() != report_.num_rows)
      problem("results.h5: shows {} rows, the blocks hold {}", file.num_rows(), report_.num_rows);
    const RowsSeen seen = read_all_rows(file);
    if (seen.num_missing > 0) problem("results.h5: {} rows read as missing", seen.num_missing);
    if (seen.num_out_of_order > 0) problem("results.h5: {} rows are not in input order", seen.num_out_of_order);
    if (seen.num_wrong_digests > 0)
      problem("results.h5: the digests of {} rows do not fit the rows", seen.num_wrong_digests);
    if (blocks_are_good && seen.num_missing == 0 && seen.digest != report_.digest)
      problem("results.h5: its rows are not those of the blocks");
  }

  fs::path directory_;
  JournalContents journal_;
  VerifyReport report_;
  std::set<std::string> recorded_;                     // files of block records
  std::vector<std::string> files_;                     // good blocks
  std::vector<std::pair<RowKey, std::int32_t>> rows_;  // of all good blocks, with the index into files_
};

}  // namespace

VerifyReport verify_results(const std::filesystem::path& directory) { return Verification(directory).run(); }

}  // namespace moebius::io
