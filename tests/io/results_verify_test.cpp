// SPDX-License-Identifier: Apache-2.0
#include "io/results_verify.hpp"

#include <algorithm>

#include "io/journal.hpp"
#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

namespace fs = std::filesystem;

class ResultsVerifyTest : public FolderTest {
 protected:
  FilledFolder finished(const std::string& name = "run") const {
    FilledFolder filled = fill_folder(folder_ / name, {.num_lines = 60});
    write_master(filled.directory, sample_record(static_cast<std::int64_t>(filled.rows.size())));
    return filled;
  }
  static std::string text_of(const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) text += line + "\n";
    return text;
  }
  static bool names(const std::vector<std::string>& lines, const std::string& part) {
    return text_of(lines).find(part) != std::string::npos;
  }
  static std::string in_folder(const fs::path& block) { return "blocks/" + block.filename().native(); }
};

TEST_F(ResultsVerifyTest, WholeResultsAreFoundWhole) {
  const FilledFolder filled = finished();
  const VerifyReport report = verify_results(filled.directory);
  EXPECT_TRUE(report.ok()) << text_of(report.problems);
  EXPECT_TRUE(report.notes.empty()) << text_of(report.notes);
  EXPECT_EQ(report.digest, filled.digest);
  EXPECT_EQ(report.num_rows, static_cast<std::int64_t>(filled.rows.size()));
  EXPECT_EQ(report.num_rows_expected, report.num_rows);
  EXPECT_EQ(report.num_blocks, static_cast<std::int64_t>(block_files(filled.directory).size()));
  EXPECT_EQ(report.num_failed, std::count_if(filled.rows.begin(), filled.rows.end(),
                                             [](const Row& row) { return !succeeded(row.status); }));
}

TEST_F(ResultsVerifyTest, AMissingBlockIsNamed) {
  const FilledFolder filled = finished();
  const fs::path victim = block_files(filled.directory).at(3);
  fs::remove(victim);
  const VerifyReport report = verify_results(filled.directory);
  EXPECT_TRUE(names(report.problems, in_folder(victim) + ": is missing")) << text_of(report.problems);
  EXPECT_TRUE(names(report.problems, "read as missing")) << text_of(report.problems);
}

TEST_F(ResultsVerifyTest, AFlippedBitAnywhereInABlockIsNamed) {
  const FilledFolder filled = finished();
  const fs::path victim = block_files(filled.directory).at(1);
  const std::string good = content_of(victim);
  std::mt19937 random(3);
  for (int trial = 0; trial < 12; ++trial) {
    std::string bad = good;
    const std::size_t at = random() % bad.size();
    bad[at] = static_cast<char>(bad[at] ^ (1 << (random() % 8)));
    set_content(victim, bad);
    const VerifyReport report = verify_results(filled.directory);
    EXPECT_TRUE(names(report.problems, in_folder(victim) + ": its bytes")) << at << text_of(report.problems);
  }
  set_content(victim, good.substr(0, good.size() / 2));
  EXPECT_TRUE(names(verify_results(filled.directory).problems, in_folder(victim)));
  set_content(victim, good);
  EXPECT_TRUE(verify_results(filled.directory).ok());
}

TEST_F(ResultsVerifyTest, AChangedMasterIsNamed) {
  const FilledFolder filled = finished();
  const std::string good = content_of(master_path(filled.directory));
  std::mt19937 random(4);
  for (int trial = 0; trial < 12; ++trial) {
    std::string bad = good;
    bad[random() % bad.size()] ^= 16;
    set_content(master_path(filled.directory), bad);
    EXPECT_TRUE(names(verify_results(filled.directory).problems, "results.h5: its bytes"));
  }
  fs::remove(master_path(filled.directory));
  EXPECT_TRUE(names(verify_results(filled.directory).problems, "results.h5: is missing"));
}

// What a checksum cannot tell: files that are as they were written, but do not belong together.
TEST_F(ResultsVerifyTest, AMasterOfOtherRowsIsNamed) {
  const FilledFolder filled = finished();
  RowMaker make(77);
  BlockWriter writer(filled.directory, RankId(5), 10, "f00d");
  writer.add(make.request(1000, 3));
  writer.finish();
  const VerifyReport report = verify_results(filled.directory);
  EXPECT_TRUE(names(report.problems, "results.h5: says num_rows")) << text_of(report.problems);
  EXPECT_TRUE(names(report.problems, "results.h5: says invariance_digest")) << text_of(report.problems);
  EXPECT_TRUE(names(report.problems, "results.h5: shows")) << text_of(report.problems);
  EXPECT_TRUE(names(report.problems, "results.h5: its rows are not those")) << text_of(report.problems);
}

TEST_F(ResultsVerifyTest, RecordsThatSayOtherThanTheirBlockAreNamed) {
  const std::vector<std::pair<std::string, std::function<void(JournalRecord&)>>> lies = {
      {" rows, not ", [](JournalRecord& r) { r.num_rows += 1; }},
      {" tokens, not ", [](JournalRecord& r) { r.num_tokens += 1; }},
      {" failed rows, not ", [](JournalRecord& r) { r.num_failed += 1; }},
      {"its digest is not the one", [](JournalRecord& r) { r.digest.high += 1; }},
      {"which is no block", [](JournalRecord& r) { r.file = "../" + r.file; }},
  };
  for (std::size_t i = 0; i < lies.size(); ++i) {
    const FilledFolder filled = finished(std::to_string(i));
    std::vector<JournalRecord> records = read_journal(filled.directory).records;
    lies[i].second(records.at(2));
    fs::remove(journal_path(filled.directory));
    Journal journal(filled.directory);
    for (const JournalRecord& record : records) journal.append(record);
    const VerifyReport report = verify_results(filled.directory);
    EXPECT_TRUE(names(report.problems, lies[i].first)) << text_of(report.problems);
  }
}

TEST_F(ResultsVerifyTest, RowsThatAreThereTwiceAreNamed) {
  const FilledFolder filled = finished();
  BlockWriter writer(filled.directory, RankId(5), 10, "f00d");
  writer.add({filled.rows.at(20)});
  writer.finish();
  const Row& row = filled.rows.at(20);
  const std::string what =
      "both hold input line " + std::to_string(row.input_line) + " choice " + std::to_string(row.choice_idx);
  EXPECT_TRUE(names(verify_results(filled.directory).problems, what));
  std::string journal = content_of(journal_path(filled.directory));
  set_content(journal_path(filled.directory), journal + journal.substr(0, journal.find('\n') + 1));
  EXPECT_TRUE(names(verify_results(filled.directory).problems, "is recorded twice"));
}

TEST_F(ResultsVerifyTest, FewerRowsThanExpectedAreNamed) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 10});
  const auto num_rows = static_cast<std::int64_t>(filled.rows.size());
  write_master(filled.directory, sample_record(num_rows + 2));
  const VerifyReport report = verify_results(filled.directory);
  EXPECT_EQ(report.problems.size(), 1U) << text_of(report.problems);
  EXPECT_TRUE(names(report.problems, std::to_string(num_rows + 2) + " rows were expected"));
}

TEST_F(ResultsVerifyTest, DamageOfTheJournalIsNamedAndATornTailIsHarmless) {
  const FilledFolder filled = finished();
  const std::string good = content_of(journal_path(filled.directory));
  set_content(journal_path(filled.directory), good + "0123456789abcdef {\"v\":1,");
  const VerifyReport torn = verify_results(filled.directory);
  EXPECT_TRUE(torn.ok()) << text_of(torn.problems);
  EXPECT_TRUE(names(torn.notes, "never committed"));
  std::string bad = good;
  bad[50] ^= 2;
  set_content(journal_path(filled.directory), bad);
  EXPECT_TRUE(names(verify_results(filled.directory).problems, "journal: line 1 is damaged"));
}

TEST_F(ResultsVerifyTest, FilesThatDoNotBelongAreNamedAsNotes) {
  const FilledFolder filled = finished();
  set_content(filled.directory / "blocks/holiday.jpg", "x");
  set_content(filled.directory / "blocks/r1-99-0.h5.tmp", "x");
  fs::copy_file(block_files(filled.directory).at(0), filled.directory / "blocks/r0-99-00000000.h5");
  const VerifyReport report = verify_results(filled.directory);
  EXPECT_TRUE(report.ok()) << text_of(report.problems);
  EXPECT_TRUE(names(report.notes, "blocks/holiday.jpg: is not ours"));
  EXPECT_TRUE(names(report.notes, "blocks/r1-99-0.h5.tmp: was being written"));
  EXPECT_TRUE(names(report.notes, "blocks/r0-99-00000000.h5: was never committed"));
}

TEST_F(ResultsVerifyTest, AFolderWithoutJournalIsAFailure) {
  EXPECT_NE(failure_of([&] { verify_results(folder_); }).find("journal"), std::string::npos);
}

}  // namespace
}  // namespace moebius::io
