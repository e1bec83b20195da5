// SPDX-License-Identifier: Apache-2.0
#include "io/journal.hpp"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <set>

#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

JournalRecord sample(int rank, std::int64_t sequence) {
  JournalRecord record;
  record.file = "blocks/r" + std::to_string(rank) + "-" + std::to_string(sequence) + "-0badcafe.h5";
  record.rank = RankId(rank);
  record.sequence = sequence;
  record.num_rows = 512;
  record.num_tokens = std::int64_t{1} << 40;
  record.num_failed = 3;
  record.checksum = 0xfedcba9876543210U;
  record.digest = {.low = 1, .high = 0xffffffffffffffffU};
  record.job_fingerprint = "a \"quoted\"\nname";
  record.utc = "2025-11-23T22:57:01Z";
  return record;
}

using JournalTest = FolderTest;

TEST_F(JournalTest, RecordsComeBackInOrder) {
  Journal journal(folder_);
  JournalRecord master = sample(0, 0);
  master.kind = RecordKind::master;
  journal.append(sample(0, 0));
  journal.append(master);
  journal.append(sample(7, 1));
  const JournalContents contents = read_journal(folder_);
  EXPECT_EQ(contents.records, (std::vector<JournalRecord>{sample(0, 0), master, sample(7, 1)}));
  EXPECT_EQ(contents.blocks(), (std::vector<JournalRecord>{sample(0, 0), sample(7, 1)}));
  ASSERT_NE(contents.master(), nullptr);
  EXPECT_EQ(*contents.master(), master);
  EXPECT_TRUE(contents.damaged_lines.empty());
  EXPECT_EQ(contents.torn_bytes, 0);
}

StartRecord sample_start(std::int64_t run) {
  return {.run = run, .facts = {{"model.compute", "\"bf16\""}, {"a \n", ""}}, .host = "n1", .pid = 9, .slurm_job = "77", .num_ranks = 4, .utc = "now"};
}

JournalRecord of_run(std::int64_t run, RecordKind kind, std::int64_t sequence) {
  JournalRecord record = sample(0, sequence);
  record.run = run;
  record.kind = kind;
  return record;
}

TEST_F(JournalTest, RecordsOfARunBehindTheNextStartDoNotCount) {
  Journal journal(folder_);
  journal.append(sample_start(0));
  journal.append(of_run(0, RecordKind::block, 0));
  journal.append(sample_start(1));
  journal.append(of_run(0, RecordKind::block, 1));
  journal.append(of_run(1, RecordKind::block, 2));
  journal.append(of_run(0, RecordKind::master, 0));
  const JournalContents contents = read_journal(folder_);
  EXPECT_EQ(contents.starts, (std::vector<StartRecord>{sample_start(0), sample_start(1)}));
  EXPECT_EQ(contents.blocks(), (std::vector<JournalRecord>{of_run(0, RecordKind::block, 0), of_run(1, RecordKind::block, 2)}));
  EXPECT_EQ(contents.num_late, 2);
  EXPECT_EQ(contents.master(), nullptr);
  EXPECT_EQ(contents.run(), 1);
  EXPECT_TRUE(contents.damaged_lines.empty());
}

TEST_F(JournalTest, AWithdrawnBlockDoesNotCountUntilItIsCommittedAgain) {
  Journal journal(folder_);
  journal.append(of_run(0, RecordKind::block, 0));
  journal.append(of_run(0, RecordKind::block, 1));
  journal.append(of_run(0, RecordKind::withdrawn, 0));
  EXPECT_EQ(read_journal(folder_).blocks(), std::vector<JournalRecord>{of_run(0, RecordKind::block, 1)});
  journal.append(of_run(0, RecordKind::block, 0));
  EXPECT_EQ(read_journal(folder_).blocks().size(), 2U);
}

TEST(JobFactsTest, TheFingerprintTellsNamesAndValuesApart) {
  const std::set<std::string> different = {fingerprint({}), fingerprint({{"a", "b"}}), fingerprint({{"ab", ""}}), fingerprint({{"", "ab"}}),
                                           fingerprint({{"a", "b=1"}}), fingerprint({{"a", "b"}, {"c", "d"}}), fingerprint({{"a", "bcd"}})};
  EXPECT_EQ(different.size(), 7U);
}

TEST_F(JournalTest, AnyChangedByteOfALineIsSeen) {
  const std::string line = to_line(sample(3, 4));
  JournalRecord record;
  ASSERT_TRUE(parse_line(line, record));
  for (std::size_t i = 0; i < line.size(); ++i) {
    std::string changed = line;
    changed[i] = static_cast<char>(changed[i] ^ 1);
    EXPECT_FALSE(parse_line(changed, record)) << "byte " << i;
    EXPECT_FALSE(parse_line(std::string_view(line).substr(0, i), record)) << "cut at " << i;
  }
}

TEST_F(JournalTest, LinesWithAGoodChecksumAndOddContentAreDamagedToo) {
  JournalRecord record;
  for (const std::string text : {"{}", "[]", "not json", R"({"v":2})", R"({"v":"1","kind":"block"})"})
    EXPECT_FALSE(parse_line(to_hex(xxh3_64(text)) + " " + text, record)) << text;
}

TEST_F(JournalTest, ATornLastLineIsSkippedByReadersAndCutByTheNextWriter) {
  { Journal(folder_).append(sample(0, 0)); }
  const std::string whole = content_of(journal_path(folder_));
  const std::string torn = to_line(sample(0, 1));
  for (const std::size_t length : {std::size_t{1}, torn.size() / 2, torn.size()}) {
    set_content(journal_path(folder_), whole + torn.substr(0, length));
    const JournalContents contents = read_journal(folder_);
    EXPECT_EQ(contents.records, std::vector<JournalRecord>{sample(0, 0)});
    EXPECT_TRUE(contents.damaged_lines.empty());
    EXPECT_EQ(contents.torn_bytes, static_cast<std::int64_t>(length));

    Journal(folder_).append(sample(2, 0));
    const JournalContents after = read_journal(folder_);
    EXPECT_EQ(after.records, (std::vector<JournalRecord>{sample(0, 0), sample(2, 0)}));
    EXPECT_TRUE(after.damaged_lines.empty());
    EXPECT_EQ(after.torn_bytes, 0);
  }
}

TEST_F(JournalTest, ATornFirstLineAndOneLongerThanABufferAreCut) {
  for (const std::size_t length : {std::size_t{10}, std::size_t{10000}}) {
    set_content(journal_path(folder_), std::string(length, 'x'));
    EXPECT_EQ(read_journal(folder_).torn_bytes, static_cast<std::int64_t>(length));
    Journal(folder_).append(sample(0, 0));
    EXPECT_EQ(content_of(journal_path(folder_)), to_line(sample(0, 0)) + "\n");
  }
}

TEST_F(JournalTest, DamagedLinesAreNumberedAndTheOthersRead) {
  Journal journal(folder_);
  for (int i = 0; i < 3; ++i) journal.append(sample(0, i));
  std::string text = content_of(journal_path(folder_));
  text[text.find('\n') + 30] ^= 4;
  set_content(journal_path(folder_), text);
  const JournalContents contents = read_journal(folder_);
  EXPECT_EQ(contents.damaged_lines, std::vector<std::int64_t>{2});
  EXPECT_EQ(contents.records, (std::vector<JournalRecord>{sample(0, 0), sample(0, 2)}));
}

TEST_F(JournalTest, ProcessesAppendingAtOnceLoseAndMixNothing) {
  constexpr int num_processes = 4, num_records = 40;
  std::vector<pid_t> children;
  for (int process = 0; process < num_processes; ++process) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      Journal journal(folder_);
      for (int i = 0; i < num_records; ++i) journal.append(sample(process, i));
      ::_exit(0);
    }
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = -1;
    ::waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  const JournalContents contents = read_journal(folder_);
  EXPECT_TRUE(contents.damaged_lines.empty());
  std::map<int, std::int64_t> next;
  for (const JournalRecord& record : contents.records) EXPECT_EQ(record.sequence, next[record.rank.value]++);
  for (int process = 0; process < num_processes; ++process) EXPECT_EQ(next[process], num_records);
}

TEST_F(JournalTest, AnAppendWaitsForTheLockOfAnotherProcess) {
  Journal journal(folder_);
  int from_child[2], to_child[2];
  ASSERT_EQ(::pipe(from_child), 0);
  ASSERT_EQ(::pipe(to_child), 0);
  const pid_t holder = ::fork();
  ASSERT_GE(holder, 0);
  if (holder == 0) {  // takes the lock, says so, writes a torn tail on demand and dies without unlocking
    const int fd = ::open(journal_path(folder_).c_str(), O_RDWR | O_APPEND);
    struct flock whole {};
    whole.l_type = F_WRLCK;
    char byte = 'x';
    if (::fcntl(fd, F_SETLK, &whole) != 0 || ::write(from_child[1], &byte, 1) != 1) ::_exit(1);
    if (::read(to_child[0], &byte, 1) != 1 || ::write(fd, "torn", 4) != 4) ::_exit(1);
    ::_exit(0);
  }
  char byte = 0;
  ASSERT_EQ(::read(from_child[0], &byte, 1), 1);
  ASSERT_EQ(::write(to_child[1], &byte, 1), 1);
  journal.append(sample(0, 0));  // an append that did not wait could stand before "torn"
  int status = -1;
  ::waitpid(holder, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_EQ(content_of(journal_path(folder_)), to_line(sample(0, 0)) + "\n");
  for (const int fd : {from_child[0], from_child[1], to_child[0], to_child[1]}) ::close(fd);
}

TEST_F(JournalTest, AFolderWithoutJournalIsNamed) {
  EXPECT_NE(failure_of([&] { read_journal(folder_); }).find("journal"), std::string::npos);
  EXPECT_NE(failure_of([&] { Journal(folder_ / "nowhere"); }).find("nowhere"), std::string::npos);
}

}  // namespace
}  // namespace moebius::io
