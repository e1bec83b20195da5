// SPDX-License-Identifier: Apache-2.0
#include "io/output_folder.hpp"

#include <linux/capability.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <numeric>

#include "io/results_verify.hpp"
#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

namespace fs = std::filesystem;

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

class OutputFolderTest : public FolderTest {
 protected:
  static constexpr std::int64_t num_lines = 40;

  FolderRequest request() const {
    FolderRequest request{.directory = directory(), .facts = {{"model.compute", "\"bf16\""}, {"the input", "77"}}, .num_ranks = 3};
    request.lines.resize(num_lines);
    std::iota(request.lines.begin(), request.lines.end(), 1);
    return request;
  }
  fs::path directory() const { return folder_ / "run"; }
  static std::vector<Row> rows_of(std::int64_t line) { return RowMaker(static_cast<std::uint32_t>(line)).request(line); }
  static Digest128 whole_digest() {
    Digest128 digest;
    for (std::int64_t line = 1; line <= num_lines; ++line)
      for (const Row& row : rows_of(line)) digest += row_digest(row);
    return digest;
  }

  /// A run as the program does it, but it is stopped before line `stop_before` is added.
  std::int64_t run(std::int64_t stop_before = num_lines + 1, int rank = 0) {
    OutputFolder folder(request());
    const std::int64_t number = folder.begin();
    BlockWriter writer(directory(), RankId(rank), 8, folder.fingerprint(), number);
    std::int64_t num_added = 0;
    for (std::int64_t line = 1; line <= num_lines; ++line) {
      if (folder.committed().contains(line)) continue;
      if (line >= stop_before) return num_added;
      writer.add(rows_of(line));
      ++num_added;
    }
    writer.finish();
    RunRecord record = sample_record(0);
    record.restart_count = number;
    for (std::int64_t line = 1; line <= num_lines; ++line) record.num_rows_expected += static_cast<std::int64_t>(rows_of(line).size());
    write_master(directory(), record, folder.fingerprint(), number);
    return num_added;
  }
  std::string problems() const {
    std::string text;
    const VerifyReport report = verify_results(directory());
    for (const std::string& problem : report.problems) text += problem + "\n";
    return text;
  }
  void expect_whole() const {
    EXPECT_EQ(problems(), "");
    EXPECT_EQ(verify_results(directory()).digest, whole_digest());
  }
  std::string notes_of_look() const {
    std::string text;
    const OutputFolder folder(request());
    for (const std::string& note : folder.notes()) text += note + "\n";
    return text;
  }
};

TEST_F(OutputFolderTest, AStoppedRunGoesOnAndAFinishedOneHasNothingToDo) {
  run(20);
  const std::int64_t num_left = run();
  EXPECT_GT(num_left, 0);
  EXPECT_LT(num_left, num_lines);
  expect_whole();
  const std::string journal = content_of(journal_path(directory()));
  OutputFolder again(request());
  EXPECT_EQ(again.state(), FolderState::finished);
  EXPECT_EQ(again.run(), 1);
  EXPECT_EQ(content_of(journal_path(directory())), journal) << "a finished folder is only looked at";
}

TEST_F(OutputFolderTest, ManyStopsWithOtherRanksLoseAndDoubleNothing) {
  std::int64_t num_added = 0;
  for (int rank = 0; rank < 9; ++rank) num_added += run(rank * 5, rank % 4);
  EXPECT_GT(num_added, num_lines) << "rows that were not committed are computed again";
  run();
  expect_whole();
  EXPECT_EQ(read_journal(directory()).starts.size(), 10U);
}

TEST_F(OutputFolderTest, AFirstLookWritesNothing) {
  const OutputFolder look(request());
  EXPECT_EQ(look.state(), FolderState::fresh);
  EXPECT_FALSE(fs::exists(directory()));
}

TEST_F(OutputFolderTest, AChangedJobIsRefusedAndTheDifferencesNamed) {
  run(20);
  FolderRequest changed = request();
  changed.facts = {{"model.compute", "\"fp32\""}, {"the input", "77"}, {"the kernels", "avx2"}};
  const std::string journal = content_of(journal_path(directory()));
  const std::string message = failure_of([&] { OutputFolder{changed}; }, ExitCode::bad_usage);
  EXPECT_TRUE(has(message, "model.compute was \"bf16\" and is \"fp32\"")) << message;
  EXPECT_TRUE(has(message, "the kernels was not there and is avx2")) << message;
  EXPECT_FALSE(has(message, "the input")) << message;
  EXPECT_EQ(content_of(journal_path(directory())), journal);
  EXPECT_FALSE(fs::exists(lock_path(directory())));
  changed.on_existing = OnExisting::replace;
  OutputFolder replaced(changed);
  EXPECT_EQ(replaced.begin(), 0);
  EXPECT_TRUE(block_files(directory()).empty());
}

TEST_F(OutputFolderTest, OtherRanksAreNoOtherJob) {
  run(20);
  FolderRequest other = request();
  other.num_ranks = 17;
  EXPECT_EQ(OutputFolder(other).state(), FolderState::unfinished);
}

TEST_F(OutputFolderTest, ATornLastRecordIsCutAndSaid) {
  run(20);
  const std::string whole = content_of(journal_path(directory()));
  set_content(journal_path(directory()), whole.substr(0, whole.size() - 5));
  EXPECT_TRUE(has(notes_of_look(), "had not been committed"));
  run();
  expect_whole();
}

TEST_F(OutputFolderTest, AJournalWithoutAWholeStartRecordIsAFreshFolder) {
  run(1);
  const std::string whole = content_of(journal_path(directory()));
  for (const std::size_t length : {std::size_t{0}, std::size_t{1}, whole.size() - 1}) {
    set_content(journal_path(directory()), whole.substr(0, length));
    EXPECT_EQ(OutputFolder(request()).state(), FolderState::fresh);
    run(1);
    EXPECT_EQ(read_journal(directory()).starts.size(), 1U);
  }
}

TEST_F(OutputFolderTest, MissingAndDamagedBlocksAreWithdrawnAndComputedAgain) {
  run();
  const std::vector<fs::path> blocks = block_files(directory());
  fs::remove(blocks.at(0));
  std::string content = content_of(blocks.at(2));
  content[content.size() / 2] ^= 1;
  set_content(blocks.at(2), content);
  set_content(blocks.at(3), "");
  OutputFolder folder(request());
  EXPECT_EQ(folder.state(), FolderState::unfinished);
  std::string notes;
  for (const std::string& note : folder.notes()) notes += note + "\n";
  for (const int i : {0, 2, 3}) EXPECT_TRUE(has(notes, blocks[static_cast<std::size_t>(i)].filename().native())) << notes;
  EXPECT_TRUE(has(notes, "is missing")) << notes;
  EXPECT_TRUE(has(notes, "differ")) << notes;
  folder.release();
  EXPECT_GT(run(), 0);
  expect_whole();
  EXPECT_EQ(OutputFolder(request()).state(), FolderState::finished);
}

TEST_F(OutputFolderTest, AMasterThatIsGoneOrChangedIsWrittenAgain) {
  run();
  for (const bool gone : {true, false}) {
    if (gone) fs::remove(master_path(directory()));
    else set_content(master_path(directory()), "changed");
    EXPECT_EQ(OutputFolder(request()).state(), FolderState::unfinished);
    EXPECT_EQ(run(), 0);
    expect_whole();
  }
}

TEST_F(OutputFolderTest, LeftoversOfThisJobGoAndFilesOfOthersStay) {
  run(20);
  const fs::path uncommitted = blocks_path(directory()) / "r9-0-0badcafe.h5";
  fs::copy_file(block_files(directory()).at(0), uncommitted);
  const FilledFolder other = fill_folder(folder_ / "other", {.num_lines = 30});
  const fs::path foreign = blocks_path(directory()) / block_files(other.directory).at(0).filename();
  fs::copy_file(block_files(other.directory).at(0), foreign);
  set_content(blocks_path(directory()) / "r9-1-3.h5.tmp", "half");
  set_content(blocks_path(directory()) / "own.h5", "mine");
  EXPECT_TRUE(has(notes_of_look(), foreign.filename().native() + ": is not of this job"));
  EXPECT_TRUE(fs::exists(foreign));
  EXPECT_TRUE(fs::exists(blocks_path(directory()) / "own.h5"));
  EXPECT_FALSE(fs::exists(uncommitted));
  EXPECT_FALSE(fs::exists(blocks_path(directory()) / "r9-1-3.h5.tmp"));
  run();
  expect_whole();
}

TEST_F(OutputFolderTest, WhatADeadRunCommitsLateDoesNotCount) {
  OutputFolder first(request());
  first.begin();
  BlockWriter late(directory(), RankId(1), 8, first.fingerprint(), 0);
  late.add(rows_of(1));
  first.release();
  EXPECT_EQ(OutputFolder(request()).run(), 1);  // the next run has begun
  late.finish();
  EXPECT_EQ(read_journal(directory()).num_late, 1);
  EXPECT_EQ(failure_of([&] { write_master(directory(), sample_record(0), first.fingerprint(), 0); }, ExitCode::bad_usage).find("cannot finish"), 0U);
  EXPECT_EQ(run(), num_lines) << "line 1 too";
  expect_whole();
}

TEST_F(OutputFolderTest, ADamagedJournalIsRefused) {
  run(30);
  std::string journal = content_of(journal_path(directory()));
  journal[journal.find('\n') + 30] ^= 4;
  set_content(journal_path(directory()), journal);
  const std::string message = failure_of([&] { OutputFolder{request()}; });
  EXPECT_TRUE(has(message, "line 2")) << message;
  EXPECT_TRUE(has(message, "--force-new")) << message;
}

TEST_F(OutputFolderTest, ResultsWithoutAJournalAreRefused) {
  run();
  fs::remove(journal_path(directory()));
  OutputFolder folder(request());
  EXPECT_TRUE(has(failure_of([&] { folder.begin(); }, ExitCode::bad_usage), "--force-new"));
  EXPECT_FALSE(block_files(directory()).empty());
}

TEST_F(OutputFolderTest, OfTwoJobsThatFindNothingTheSecondIsRefused) {
  OutputFolder slow(request());
  run(20);
  const std::string message = failure_of([&] { slow.begin(); }, ExitCode::bad_usage);
  EXPECT_TRUE(has(message, "another job has begun")) << message;
}

TEST_F(OutputFolderTest, AClockThatGoesBackChangesNothing) {
  run(20);
  const std::string journal = content_of(journal_path(directory()));
  std::string future;  // the same records, committed in the year 2999
  for (std::string_view rest = journal; !rest.empty(); rest.remove_prefix(rest.find('\n') + 1)) {
    StartRecord start;
    JournalRecord record;
    const std::string_view line = rest.substr(0, rest.find('\n'));
    start.utc = record.utc = "";
    if (parse_line(line, start)) {
      start.utc = "2999-01-01T00:00:00Z";
      future += to_line(start) + "\n";
    } else {
      ASSERT_TRUE(parse_line(line, record));
      record.utc = "2999-01-01T00:00:00Z";
      future += to_line(record) + "\n";
    }
  }
  set_content(journal_path(directory()), future);
  EXPECT_LT(run(), num_lines);
  expect_whole();
  EXPECT_EQ(OutputFolder(request()).state(), FolderState::finished);
}

/// Root may write everywhere, but not without this capability (capabilities(7)). Switches it for the calling thread; it
/// comes back only where the thread is permitted to have it.
void let_root_override_permissions(bool may) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3]{};
  ASSERT_EQ(::syscall(SYS_capget, &header, sets), 0);
  constexpr std::uint32_t bit = CAP_TO_MASK(CAP_DAC_OVERRIDE);
  auto& of_bit = sets[CAP_TO_INDEX(CAP_DAC_OVERRIDE)];
  of_bit.effective = may ? of_bit.effective | (of_bit.permitted & bit) : of_bit.effective & ~bit;
  ASSERT_EQ(::syscall(SYS_capset, &header, sets), 0);
}

TEST_F(OutputFolderTest, AFolderThatIsReadOnlyIsNamed) {
  run(20);
  ASSERT_EQ(::chmod(directory().c_str(), 0555), 0);
  let_root_override_permissions(false);
  const std::string message = failure_of([&] { OutputFolder{request()}; }, ExitCode::bad_usage);
  let_root_override_permissions(true);
  ::chmod(directory().c_str(), 0755);
  EXPECT_TRUE(has(message, directory().native() + " as output.path (Permission denied)")) << message;
}

}  // namespace
}  // namespace moebius::io
