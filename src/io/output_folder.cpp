// SPDX-License-Identifier: Apache-2.0
#include "io/output_folder.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <system_error>

#include "base/failure.hpp"
#include "io/durable_file.hpp"
#include "io/hdf5_data.hpp"
#include "io/rows_file.hpp"
#include "io/utc_time.hpp"

namespace moebius::io {
namespace {

namespace fs = std::filesystem;

bool has_journal(const fs::path& directory) {
  std::error_code ignored;  // what cannot be looked at is an error when it is made ready
  return fs::is_regular_file(journal_path(directory), ignored);
}

JournalContents read_good_journal(const fs::path& directory) {
  JournalContents journal = read_journal(directory);
  if (journal.damaged_lines.empty()) return journal;
  throw Failure{ExitCode::unreadable_input,
                fmt::format("cannot go on with the run in {} (line {} of its journal is damaged) bring the file back, choose another "
                            "output.path, or pass --force-new to delete those results",
                            directory.native(), journal.damaged_lines.front())};
}

bool is_of_job(const fs::path& block, const std::string& fingerprint) {
  try {
    const Hdf5File file = open_hdf5(block);
    for (const auto& [name, value] : read_attributes(file.get()))
      if (name == "job_fingerprint") return value == fingerprint;
  } catch (const Failure&) {  // what cannot be read is not known to be ours
  }
  return false;
}

}  // namespace

OutputFolder::OutputFolder(const FolderRequest& request)
    : directory_(request.directory),
      on_existing_(request.on_existing),
      facts_(request.facts),
      num_ranks_(request.num_ranks),
      start_utc_(utc_now()) {
  if (on_existing_ == OnExisting::replace || !has_journal(directory_)) return;
  take_lock();
  if (!has_journal(directory_)) return;
  const JournalContents before = read_good_journal(directory_);
  if (before.starts.empty()) return;  // begin() tells whether anything else is there
  refuse_other_job(before.starts.front());
  start_utc_ = before.starts.front().utc;
  const auto is_committed = [this](std::int64_t line) { return committed_.contains(line); };
  const auto whole = read_blocks(before);
  if (whole.size() == before.blocks().size() && std::ranges::all_of(request.lines, is_committed) && master_is_whole(before)) {
    state_ = FolderState::finished;
    run_ = before.run();
    return;
  }
  resume(before);
}

void OutputFolder::take_lock() {
  lock_.emplace(OutputLock::acquire(directory_));
  if (const auto& dead = lock_->taken_over_from())
    notes_.push_back(fmt::format("the job that wrote here before did not come to its end ({})", describe(*dead)));
}

void OutputFolder::refuse_other_job(const StartRecord& first) const {
  const std::vector<std::string> texts = differences(first.facts, facts_);
  if (texts.empty()) return;
  throw Failure{ExitCode::bad_usage,
                fmt::format("cannot go on with the run in {} (it has other rows than this job: {}) run the job as it was, choose another "
                            "output.path, or pass --force-new to delete those results",
                            directory_.native(), fmt::join(texts, "; "))};
}

void OutputFolder::resume(const JournalContents& before) {
  state_ = FolderState::unfinished;
  run_ = before.run() + 1;
  if (before.torn_bytes > 0)
    notes_.push_back(fmt::format("the last {} bytes of the journal were a record that had not been committed", before.torn_bytes));
  make_output_directory(directory_);
  append_start();
  // From here on nothing of an earlier run is added to what counts: now the blocks can be taken stock of.
  const JournalContents journal = read_good_journal(directory_);
  committed_ = {};
  num_rows_ = num_failed_ = 0;
  const std::vector<JournalRecord> whole = read_blocks(journal);
  Journal writer(directory_);
  for (const JournalRecord& block : journal.blocks())
    if (std::ranges::find(whole, block) == whole.end()) withdraw(block, writer);
  remove_leftovers(journal);
}

void OutputFolder::append_start() {
  const ProcessName me = this_process();
  Journal(directory_).append(StartRecord{.run = run_,
                                         .facts = facts_,
                                         .host = me.host,
                                         .pid = me.pid,
                                         .slurm_job = me.slurm_job,
                                         .num_ranks = num_ranks_,
                                         .utc = me.utc});
}

std::vector<JournalRecord> OutputFolder::read_blocks(const JournalContents& journal) {
  std::vector<JournalRecord> whole;
  for (const JournalRecord& block : journal.blocks()) {
    const fs::path file = directory_ / block.file;
    try {
      if (!fs::is_regular_file(file) || file_checksum(file) != block.checksum) continue;
      for (const std::int64_t line : RowsFile(file).layout().input_line) committed_.insert(line);
    } catch (const Failure&) {  // as good as not there
      continue;
    }
    num_rows_ += block.num_rows;
    num_failed_ += block.num_failed;
    whole.push_back(block);
  }
  return whole;
}

bool OutputFolder::master_is_whole(const JournalContents& journal) const {
  const JournalRecord* master = journal.master();
  if (master == nullptr || journal.records.back() != *master) return false;
  const fs::path file = master_path(directory_);
  return fs::is_regular_file(file) && file_checksum(file) == master->checksum;
}

void OutputFolder::withdraw(const JournalRecord& block, Journal& journal) {
  const bool is_there = fs::exists(directory_ / block.file);
  JournalRecord record = block;
  record.kind = RecordKind::withdrawn;
  record.run = run_;
  record.utc = utc_now();
  journal.append(record);
  std::error_code ignored;  // a file that stays is in nobody's way
  fs::remove(directory_ / block.file, ignored);
  notes_.push_back(fmt::format("{}: {}; its {} rows are computed again", block.file,
                               is_there ? "its bytes differ from those that were committed" : "is missing", block.num_rows));
}

void OutputFolder::remove_leftovers(const JournalContents& journal) {
  std::set<std::string> recorded;
  for (const JournalRecord& block : journal.blocks()) recorded.insert(block.file);
  std::vector<fs::path> leftovers;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(blocks_path(directory_), error)) {
    const std::string name = entry.path().filename().native();
    if (is_temporary_name(name)) {
      leftovers.push_back(entry.path());
    } else if (parse_block_name(name) && !recorded.contains("blocks/" + name)) {
      if (is_of_job(entry.path(), fingerprint())) leftovers.push_back(entry.path());
      else notes_.push_back(fmt::format("blocks/{}: is not of this job; it is left alone and does not count", name));
    }
  }
  for (const fs::path& file : leftovers) fs::remove(file, error);
  if (!leftovers.empty()) notes_.push_back(fmt::format("{} files that had not been committed were removed", leftovers.size()));
}

std::int64_t OutputFolder::begin() {
  if (state_ != FolderState::fresh) return run_;
  make_output_directory(directory_);
  if (!lock_) take_lock();
  if (on_existing_ != OnExisting::replace && has_journal(directory_) && !read_good_journal(directory_).starts.empty())
    throw Failure{ExitCode::bad_usage,
                  fmt::format("cannot use {} as output.path (another job has begun there since this one looked) run again to go on with it, "
                              "or choose another output.path",
                              directory_.native())};
  prepare_output_directory(directory_, on_existing_);
  append_start();
  return run_;
}

}  // namespace moebius::io
