// SPDX-License-Identifier: Apache-2.0
#include "io/output_directory.hpp"

#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

using OutputDirectoryTest = FolderTest;
namespace fs = std::filesystem;

std::string refusal(const fs::path& directory, OnExisting on_existing = OnExisting::resume) {
  return failure_of([&] { prepare_output_directory(directory, on_existing); }, ExitCode::bad_usage);
}

bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_F(OutputDirectoryTest, MakesTheFolderWithItsParents) {
  const fs::path directory = folder_ / "a/b/c";
  prepare_output_directory(directory, OnExisting::resume);
  EXPECT_TRUE(fs::is_directory(blocks_path(directory)));
  EXPECT_TRUE(fs::is_empty(blocks_path(directory)));
  prepare_output_directory(directory, OnExisting::resume);  // still holds no results
}

TEST_F(OutputDirectoryTest, RefusesAFolderWithResultsAndSaysWhatToDo) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 5});
  const std::string before = content_of(journal_path(filled.directory));
  const std::string message = refusal(filled.directory);
  EXPECT_TRUE(has(message, "--force-new")) << message;
  EXPECT_TRUE(has(message, (folder_ / "run").native())) << message;
  EXPECT_EQ(content_of(journal_path(filled.directory)), before);
  fs::remove(journal_path(filled.directory));
  EXPECT_TRUE(has(refusal(filled.directory), "results"));  // blocks alone are results too
}

TEST_F(OutputDirectoryTest, ReplaceRemovesOursAndNothingElse) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 50});
  write_master(filled.directory, sample_record(1));
  set_content(filled.directory / "notes.txt", "mine");
  set_content(filled.directory / "blocks/own.h5", "mine");
  set_content(filled.directory / "blocks/r0-9-0.h5.tmp", "left over");
  set_content(filled.directory / "results.h5.tmp", "left over");
  prepare_output_directory(filled.directory, OnExisting::replace);
  EXPECT_EQ(block_files(filled.directory), std::vector<fs::path>{filled.directory / "blocks/own.h5"});
  EXPECT_EQ(content_of(filled.directory / "notes.txt"), "mine");
  EXPECT_FALSE(fs::exists(journal_path(filled.directory)));
  EXPECT_FALSE(fs::exists(master_path(filled.directory)));
  EXPECT_FALSE(fs::exists(filled.directory / "results.h5.tmp"));
}

TEST_F(OutputDirectoryTest, WhatADeathWhileReplacingHasLeftIsNoResult) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 50});
  write_master(filled.directory, sample_record(1));
  fs::rename(journal_path(filled.directory), filled.directory / "journal.discarded");  // and no further
  set_content(filled.directory / "blocks/own.h5", "mine");
  prepare_output_directory(filled.directory, OnExisting::resume);
  EXPECT_EQ(block_files(filled.directory), std::vector<fs::path>{filled.directory / "blocks/own.h5"});
  EXPECT_FALSE(fs::exists(filled.directory / "journal.discarded"));
  EXPECT_FALSE(fs::exists(master_path(filled.directory)));
}

TEST_F(OutputDirectoryTest, RefusesWhatCannotBeAFolder) {
  set_content(folder_ / "file", "in the way");
  EXPECT_TRUE(has(refusal(folder_ / "file"), "is a file"));
  EXPECT_TRUE(has(refusal(folder_ / "file/below"), (folder_ / "file").native() + " is a file"));
  EXPECT_TRUE(has(refusal(""), "output.path"));
  EXPECT_TRUE(has(refusal("/proc/moebius"), "/proc/moebius"));
  fs::create_directory(folder_ / "run");
  set_content(folder_ / "run/blocks", "in the way");
  EXPECT_TRUE(has(refusal(folder_ / "run", OnExisting::replace), "blocks is a file"));
}

TEST(BlockNames, ComeBackAndOthersDoNot) {
  const std::string name = block_name({.rank = RankId(12), .sequence = 345}, 0x5f1c09ab00000000U);
  EXPECT_EQ(name, "r12-345-5f1c09ab.h5");
  const auto block = parse_block_name(name);
  ASSERT_TRUE(block);
  EXPECT_EQ(block->rank, RankId(12));
  EXPECT_EQ(block->sequence, 345);
  for (const char* other : {"", "r", "r1", "r1-2.h5", "r1-2-5f1c09a.h5", "r1-2-5f1c09ab.h5x", "r-1-2-5f1c09ab.h5",
                            "r1-2-5f1c09aB.h5", "r1--2-5f1c09ab.h5", "r99999999999-2-5f1c09ab.h5", "x1-2-5f1c09ab.h5"})
    EXPECT_FALSE(parse_block_name(other)) << other;
  EXPECT_TRUE(is_temporary_name(temporary_block_name({.rank = RankId(3), .sequence = 0}, 2)));
  EXPECT_FALSE(is_temporary_name(name));
  EXPECT_FALSE(is_temporary_name("r3-0-0.h5.tmpx"));
}

}  // namespace
}  // namespace moebius::io
