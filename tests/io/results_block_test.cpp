// SPDX-License-Identifier: Apache-2.0
#include "io/results_block.hpp"

#include <algorithm>
#include <set>

#include "io/rows_file.hpp"
#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

class ResultsBlockTest : public FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    prepare_output_directory(folder_, OnExisting::resume);
  }
  BlockWriter writer(int rows_per_block, int rank = 0) const {
    return BlockWriter(folder_, RankId(rank), rows_per_block, "f00d");
  }
  static std::vector<Row> rows_of(const std::filesystem::path& block) {
    const RowsFile file(block);
    return file.read_rows(0, file.num_rows());
  }
  /// The rows of the committed blocks in the order of the journal, block by block.
  std::vector<std::vector<Row>> committed() const {
    std::vector<std::vector<Row>> blocks;
    for (const JournalRecord& record : read_journal(folder_).blocks()) blocks.push_back(rows_of(folder_ / record.file));
    return blocks;
  }
};

TEST_F(ResultsBlockTest, RandomRowsComeBackBitForBit) {
  for (std::uint32_t seed = 1; seed <= 10; ++seed) {
    SCOPED_TRACE(seed);
    RowMaker make(seed);
    std::vector<Row> rows;
    BlockWriter blocks = writer(1000, static_cast<int>(seed));
    for (std::int64_t line = 1; line <= 20; ++line) {
      const std::vector<Row> some = make.request(line);
      rows.insert(rows.end(), some.begin(), some.end());
      blocks.add(some);
    }
    blocks.finish();
    EXPECT_EQ(committed().back(), rows);
    EXPECT_EQ(blocks.num_rows(), static_cast<std::int64_t>(rows.size()));
  }
}

TEST_F(ResultsBlockTest, APartOfABlockReadsAsThatPart) {
  RowMaker make(3);
  const std::vector<Row> rows = make.request(1, 30);
  BlockWriter blocks = writer(100);
  blocks.add(rows);
  blocks.finish();
  const RowsFile file(block_files(folder_).at(0));
  for (const auto& [first, count] : std::vector<std::pair<int, int>>{{0, 1}, {29, 1}, {7, 12}, {0, 0}, {30, 0}})
    EXPECT_EQ(file.read_rows(first, count), std::vector<Row>(rows.begin() + first, rows.begin() + first + count));
}

TEST_F(ResultsBlockTest, RowsOfABlockAreSortedAndLinesStayWhole) {
  RowMaker make(4);
  BlockWriter blocks = writer(8);
  std::vector<std::int64_t> lines(60);
  for (std::size_t i = 0; i < lines.size(); ++i) lines[i] = static_cast<std::int64_t>(i) + 1;
  std::shuffle(lines.begin(), lines.end(), std::mt19937(9));
  std::int64_t num_rows = 0;
  for (const std::int64_t line : lines) {
    std::vector<Row> rows = make.request(line);
    std::reverse(rows.begin(), rows.end());
    num_rows += static_cast<std::int64_t>(rows.size());
    blocks.add(rows);
  }
  blocks.finish();
  std::set<std::int64_t> seen;
  std::int64_t num_read = 0;
  for (const std::vector<Row>& rows : committed()) {
    EXPECT_LE(rows.size(), 8U);
    EXPECT_TRUE(std::is_sorted(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
      return std::pair(a.input_line, a.choice_idx) < std::pair(b.input_line, b.choice_idx);
    }));
    std::set<std::int64_t> here;
    for (const Row& row : rows) here.insert(row.input_line);
    for (const std::int64_t line : here)
      EXPECT_TRUE(seen.insert(line).second) << "line " << line << " is in two blocks";
    num_read += static_cast<std::int64_t>(rows.size());
  }
  EXPECT_EQ(num_read, num_rows);
  EXPECT_EQ(blocks.num_rows(), num_rows);
}

TEST_F(ResultsBlockTest, ALineWithMoreRowsThanABlockMakesALongerBlock) {
  RowMaker make(5);
  BlockWriter blocks = writer(4);
  blocks.add(make.request(1, 2));
  blocks.add(make.request(2, 9));
  blocks.add(make.request(3, 1));
  blocks.finish();
  std::vector<std::size_t> sizes;
  for (const std::vector<Row>& rows : committed()) sizes.push_back(rows.size());
  EXPECT_EQ(sizes, (std::vector<std::size_t>{2, 9, 1}));
}

TEST_F(ResultsBlockTest, RowsAreCommittedByFullBlocksAndByFinishOnly) {
  RowMaker make(6);
  {
    BlockWriter blocks = writer(2);
    blocks.add(make.request(1, 2));
    EXPECT_EQ(blocks.num_blocks(), 1);
    blocks.add(make.request(2, 1));
    EXPECT_EQ(blocks.num_rows(), 2);
  }
  EXPECT_EQ(block_files(folder_).size(), 1U);
  BlockWriter blocks = writer(2);
  blocks.finish();
  EXPECT_EQ(blocks.num_blocks(), 0);
  EXPECT_EQ(block_files(folder_).size(), 1U);
}

TEST_F(ResultsBlockTest, RecordsSayWhatIsInTheBlock) {
  RowMaker make(7);
  std::vector<Row> rows = make.request(5, 12);
  rows[3].status = RowStatus::too_long;
  BlockWriter blocks = writer(100, 3);
  blocks.add(rows);
  blocks.finish();
  std::int64_t num_tokens = 0, num_failed = 0;
  Digest128 digest;
  for (const Row& row : rows) {
    num_tokens += static_cast<std::int64_t>(row.token_ids.size());
    num_failed += succeeded(row.status) ? 0 : 1;
    digest += row_digest(row);
  }
  ASSERT_GT(num_tokens, 0);
  const JournalRecord record = read_journal(folder_).records.at(0);
  EXPECT_EQ(record.num_rows, 12);
  EXPECT_EQ(record.num_tokens, num_tokens);
  EXPECT_EQ(record.num_failed, num_failed);
  EXPECT_EQ(record.digest, digest);
  EXPECT_EQ(record.rank, RankId(3));
  EXPECT_EQ(record.job_fingerprint, "f00d");
  EXPECT_EQ(blocks.digest(), digest);
  EXPECT_EQ(blocks.num_failed(), num_failed);
  const std::string content = content_of(folder_ / record.file);
  EXPECT_EQ(record.checksum, xxh3_64(content));
  EXPECT_EQ(blocks.num_bytes(), static_cast<std::int64_t>(content.size()));
}

TEST_F(ResultsBlockTest, EqualRowsGiveEqualBytes) {
  std::vector<std::filesystem::path> files;
  for (const char* name : {"one", "two"}) {
    prepare_output_directory(folder_ / name, OnExisting::resume);
    BlockWriter blocks(folder_ / name, RankId(0), 100, "f00d");
    RowMaker make(8);
    blocks.add(make.request(1, 20));
    blocks.finish();
    files.push_back(block_files(folder_ / name).at(0));
  }
  EXPECT_EQ(files[0].filename(), files[1].filename());  // the name holds a part of the checksum
  EXPECT_EQ(content_of(files[0]), content_of(files[1]));
}

TEST_F(ResultsBlockTest, SequenceNumbersGoOnAfterThoseThatAreThere) {
  RowMaker make(9);
  for (int run = 0; run < 3; ++run) {
    BlockWriter blocks = writer(1, 2);
    blocks.add(make.request(run + 1, 1));
  }
  std::vector<std::int64_t> sequences;
  for (const JournalRecord& record : read_journal(folder_).records) sequences.push_back(record.sequence);
  EXPECT_EQ(sequences, (std::vector<std::int64_t>{0, 1, 2}));
  EXPECT_EQ(block_files(folder_).size(), 3U);
}

TEST_F(ResultsBlockTest, RefusesRowsOfTwoLinesAndRowsTwice) {
  RowMaker make(10);
  BlockWriter blocks = writer(10);
  std::vector<Row> two = make.request(1, 1);
  two.push_back(make.request(2, 1).front());
  EXPECT_THROW(blocks.add(two), std::logic_error);
  blocks.add(make.request(3, 2));
  blocks.add(make.request(3, 2));
  EXPECT_THROW(blocks.finish(), std::logic_error);
}

TEST_F(ResultsBlockTest, AFolderThatIsGoneIsAFailureThatNamesIt) {
  RowMaker make(11);
  BlockWriter blocks = writer(10);
  blocks.add(make.request(1, 1));
  std::filesystem::remove_all(blocks_path(folder_));
  EXPECT_NE(failure_of([&] { blocks.finish(); }).find("blocks/r0-0-0.h5.tmp"), std::string::npos);
}

}  // namespace
}  // namespace moebius::io
