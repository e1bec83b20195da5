// SPDX-License-Identifier: Apache-2.0
#include "io/shard_merge.hpp"

#include <algorithm>

#include "base/failure.hpp"
#include "base/shard.hpp"
#include "io/output_folder.hpp"
#include "io/results_reader.hpp"
#include "io/results_verify.hpp"
#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

namespace fs = std::filesystem;

class ShardMergeTest : public FolderTest {
 protected:
  static constexpr std::int64_t num_lines = 30;

  static std::vector<Row> rows_of(std::int64_t line) { return RowMaker(static_cast<std::uint32_t>(line)).request(line); }
  static std::int64_t num_rows() {
    std::int64_t count = 0;
    for (std::int64_t line = 1; line <= num_lines; ++line) count += static_cast<std::int64_t>(rows_of(line).size());
    return count;
  }
  static Digest128 whole_digest() {
    Digest128 digest;
    for (std::int64_t line = 1; line <= num_lines; ++line)
      for (const Row& row : rows_of(line)) digest += row_digest(row);
    return digest;
  }
  fs::path shard_path(int idx) const { return folder_ / shard_folder_name({idx, 3}); }

  /// Shard `idx` of 3: ten lines, all of them committed by rank 0; not finished where it is stopped before a line.
  void run_shard(int idx, const JobFacts& facts = {{"the input", "77"}}, std::int64_t stop_before = num_lines + 1) {
    FolderRequest request{.directory = shard_path(idx), .facts = facts};
    request.facts.emplace_back(shard_fact, to_string(Shard{idx, 3}));
    for (std::int64_t line = 10 * idx + 1; line <= 10 * idx + 10; ++line) request.lines.push_back(line);
    OutputFolder folder(request);
    const std::int64_t run = folder.begin();
    BlockWriter writer(shard_path(idx), RankId(0), 8, folder.fingerprint(), run);
    RunRecord record = sample_record(0);
    for (auto& [name, value] : record.texts)
      if (name == "job_toml") value = "[model]\npath = \"m\"\n[input]\npath = \"i\"\n[output]\npath = \"" + shard_path(idx).native() + "\"\n";
    record.texts.emplace_back("a_new_text", "layout " + std::to_string(idx % 2));
    for (const std::int64_t line : request.lines) {
      if (line >= stop_before) return;
      record.num_rows_expected += static_cast<std::int64_t>(rows_of(line).size());
      if (!folder.committed().contains(line)) writer.add(rows_of(line));
    }
    writer.finish();
    write_master(shard_path(idx), record, folder.fingerprint(), run);
  }
  void run_all() {
    for (int idx = 0; idx < 3; ++idx) run_shard(idx);
  }
  fs::path merged() const { return folder_ / "merged"; }
  MergeOutcome merge(OnExisting on_existing = OnExisting::resume) const {
    return merge_shards({.directory = merged(), .shards = find_shards(folder_), .on_existing = on_existing});
  }
  std::string refusal(ExitCode code = ExitCode::bad_usage) const {
    try {
      merge();
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), code) << failure.what();
      return failure.what();
    }
    return "not refused";
  }
  void expect_whole() const {
    const VerifyReport report = verify_results(merged());
    for (const std::string& problem : report.problems) ADD_FAILURE() << problem;
    EXPECT_EQ(report.digest, whole_digest());
    EXPECT_EQ(report.num_rows, num_rows());
    const ResultsReader reader(merged());
    std::int64_t line = 0;
    for (const Row& row : reader.read_rows(0, num_rows())) {
      EXPECT_GE(row.input_line, line);
      line = row.input_line;
    }
  }
  static bool has(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }
};

TEST_F(ShardMergeTest, AllRowsAreThereOnceInTheirOrderAndNoBlockIsCopied) {
  run_all();
  const MergeOutcome outcome = merge();
  EXPECT_EQ(outcome.num_shards, 3);
  EXPECT_EQ(outcome.num_copied, 0);
  EXPECT_EQ(outcome.num_linked, outcome.results.num_blocks);
  EXPECT_EQ(outcome.results.digest, whole_digest());
  expect_whole();
  for (const fs::path& block : block_files(merged())) EXPECT_EQ(fs::hard_link_count(block), 2U) << block;
  const ResultsReader reader(merged());
  EXPECT_EQ(reader.attribute("shard"), "merged from 3");
  EXPECT_TRUE(has(reader.attribute("job_toml").value(), "path = \"" + merged().native() + "\""));
  EXPECT_EQ(reader.attribute("a_new_text"), "layout 0; layout 1");
  EXPECT_EQ(reader.expert_load().rows.front(), 3 * sample_record(0).load.rows.front());
  const auto timing = reader.timing(), one = sample_record(0).timing;
  ASSERT_EQ(timing.size(), 3 * one.size());
  EXPECT_EQ(timing.back().rank, 3 * (one.back().rank + 1) - 1);
  for (int idx = 0; idx < 3; ++idx) fs::remove_all(shard_path(idx));
  expect_whole();
}

TEST_F(ShardMergeTest, TheMergedFolderIsThatOfTheUndividedJob) {
  run_all();
  merge();
  FolderRequest request{.directory = merged(), .facts = {{"the input", "77"}}};
  for (std::int64_t line = 1; line <= num_lines; ++line) request.lines.push_back(line);
  EXPECT_EQ(OutputFolder(request).state(), FolderState::finished);
  const std::string journal = content_of(journal_path(merged()));
  EXPECT_TRUE(merge().was_done);
  EXPECT_EQ(merge().results.digest, whole_digest());
  EXPECT_EQ(content_of(journal_path(merged())), journal) << "a finished folder is only looked at";
}

TEST_F(ShardMergeTest, AMergeThatWasKilledGoesOn) {
  run_all();
  merge();
  const std::string journal = content_of(journal_path(merged()));
  const auto blocks = block_files(merged());
  std::size_t end = 0;
  for (int lines = 0; end != std::string::npos; ++lines) {
    end = journal.find('\n', end);
    if (end == std::string::npos) break;
    ++end;
    if (lines % 3 != 0) continue;
    // As after a kill behind this record, with a block that has its name but no record, and half of a record.
    set_content(journal_path(merged()), journal.substr(0, end) + journal.substr(end, 20));
    fs::remove(master_path(merged()));
    fs::remove(blocks.back());
    merge();
    expect_whole();
  }
}

TEST_F(ShardMergeTest, AMissingAnUnfinishedAndADoubleShardAreNamed) {
  run_shard(0);
  run_shard(2);
  EXPECT_TRUE(has(refusal(), "(missing: 1/3)")) << refusal();
  run_shard(1, {{"the input", "77"}}, 19);
  EXPECT_TRUE(has(refusal(), "shard 1/3 in " + shard_path(1).native() + " is not finished")) << refusal();
  EXPECT_FALSE(fs::exists(merged())) << "a refused merge left something behind";
  run_shard(1);
  merge();
  fs::copy(shard_path(1), folder_ / "shard-0-of-9", fs::copy_options::recursive);
  EXPECT_TRUE(has(refusal(), "both hold shard 1/3")) << refusal();
}

TEST_F(ShardMergeTest, ShardsOfAnotherJobOrOfNoneAreRefused) {
  run_shard(0);
  run_shard(1, {{"the input", "78"}});
  run_shard(2);
  EXPECT_TRUE(has(refusal(), "different jobs: the input was 77 and is 78")) << refusal();
  const FilledFolder undivided = fill_folder(folder_ / "shard-1-of-9", {.num_lines = 3});
  EXPECT_NE(refusal(ExitCode::unreadable_input), "not refused");
}

TEST_F(ShardMergeTest, ADamagedBlockIsNamedAndOtherRowsAreNotMixedIn) {
  run_all();
  const fs::path victim = block_files(shard_path(1)).front();
  const std::string good = content_of(victim);
  std::string bad = good;
  bad[bad.size() / 2] ^= 1;
  set_content(victim, bad);
  const std::string message = refusal(ExitCode::unreadable_input);
  EXPECT_TRUE(has(message, victim.native())) << message;
  set_content(victim, good);
  merge();
  expect_whole();
  fs::remove_all(merged());
  // An undivided run of the same job was stopped there.
  FolderRequest request{.directory = merged(), .facts = {{"the input", "77"}}, .lines = {1, 2}};
  {
    OutputFolder folder(request);
    const std::int64_t run = folder.begin();
    BlockWriter writer(merged(), RankId(7), 8, folder.fingerprint(), run);
    writer.add(rows_of(1));
    writer.finish();
  }
  EXPECT_TRUE(has(refusal(), "holds other rows of this job: blocks/r7-0-")) << refusal();
  merge(OnExisting::replace);
  expect_whole();
}

}  // namespace
}  // namespace moebius::io
