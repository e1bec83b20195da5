// SPDX-License-Identifier: Apache-2.0
#pragma once
// A run's hold on its result folder, from the first look to the end: is there an earlier run, may this job go on
// with it, which rows are committed already. Rank 0 has one; the others only write blocks.
//
// Look (constructor): reads; writes only where an earlier run is resumed, and then what repeats harmlessly. Begin:
// makes the folder ready for a first run. In between a job may fail and leave no new folder behind.
// Why resuming counts every row once: the start record goes into the journal first, and only then is the
// journal read; what a rank of the dead run appends later is behind that record and does not count (journal.hpp).

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "io/journal.hpp"
#include "io/line_set.hpp"
#include "io/output_directory.hpp"
#include "io/output_lock.hpp"

namespace moebius::io {

enum class FolderState : std::uint8_t {
  fresh,       ///< no run has begun here, or its results are to be replaced
  unfinished,  ///< a run was stopped; this one goes on with it
  finished,    ///< all rows are committed and results.h5 is written: nothing to do
};

struct FolderRequest {
  std::filesystem::path directory;
  OnExisting on_existing = OnExisting::resume;
  JobFacts facts;
  int num_ranks = 1;
  std::vector<std::int64_t> lines;  ///< of the input that the job has; looked at in the constructor only
};

class OutputFolder {
 public:
  /// Failure(bad_usage) where another job is there, the job or its input has changed (the names of what differs are
  /// in the message), or results without a journal are; Failure(unreadable_input) where the journal is damaged.
  explicit OutputFolder(const FolderRequest& request);

  [[nodiscard]] FolderState state() const { return state_; }
  [[nodiscard]] const LineSet& committed() const { return committed_; }
  [[nodiscard]] std::int64_t num_rows_committed() const { return num_rows_; }
  /// Of these, rows that failed.
  [[nodiscard]] std::int64_t num_failed_committed() const { return num_failed_; }
  /// What was found and mended, for people.
  [[nodiscard]] const std::vector<std::string>& notes() const { return notes_; }

  /// Makes a fresh folder ready and returns the number of the run; of a resumed one the number alone.
  /// Failure as prepare_output_directory, and where another job has begun in the meantime.
  std::int64_t begin();
  /// The run is over: others may come.
  void release() { lock_.reset(); }

  [[nodiscard]] std::int64_t run() const { return run_; }
  [[nodiscard]] std::string fingerprint() const { return io::fingerprint(facts_); }
  /// When the first run began.
  [[nodiscard]] const std::string& start_utc() const { return start_utc_; }

 private:
  void take_lock();
  void refuse_other_job(const StartRecord& first) const;
  void resume(const JournalContents& before);
  void append_start();
  std::vector<JournalRecord> read_blocks(const JournalContents& journal);
  [[nodiscard]] bool master_is_whole(const JournalContents& journal) const;
  void withdraw(const JournalRecord& block, Journal& journal);
  void remove_leftovers(const JournalContents& journal);

  std::filesystem::path directory_;
  OnExisting on_existing_;
  JobFacts facts_;
  int num_ranks_;
  FolderState state_ = FolderState::fresh;
  std::optional<OutputLock> lock_;
  std::int64_t run_ = 0, num_rows_ = 0, num_failed_ = 0;
  LineSet committed_;
  std::vector<std::string> notes_;
  std::string start_utc_;
};

}  // namespace moebius::io
