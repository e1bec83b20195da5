// SPDX-License-Identifier: Apache-2.0
#include "io/results_master.hpp"

#include <hdf5.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <tuple>

#include "io/results_reader.hpp"
#include "io/rows_file.hpp"
#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

namespace fs = std::filesystem;
using ResultsMasterTest = FolderTest;

std::vector<Row> rows_through_master(const fs::path& directory) {
  const RowsFile file(master_path(directory));
  return file.read_rows(0, file.num_rows());
}

TEST_F(ResultsMasterTest, RowsOfManyRanksStandInInputOrder) {
  for (std::uint32_t seed = 1; seed <= 3; ++seed) {
    SCOPED_TRACE(seed);
    const FilledFolder filled = fill_folder(folder_ / std::to_string(seed), {.seed = seed, .num_ranks = 5});
    const MasterSummary summary = write_master(filled.directory, sample_record(1));
    EXPECT_EQ(summary.num_rows, static_cast<std::int64_t>(filled.rows.size()));
    EXPECT_EQ(summary.num_blocks, static_cast<std::int64_t>(block_files(filled.directory).size()));
    EXPECT_GT(summary.num_blocks, 20);
    EXPECT_EQ(summary.digest, filled.digest);
    EXPECT_EQ(rows_through_master(filled.directory), filled.rows);
  }
}

TEST_F(ResultsMasterTest, TablesThatAFileOfAnEarlierVersionDoesNotHaveAreEmpty) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 3});
  write_master(filled.directory, sample_record(3));
  const hid_t file = H5Fopen(master_path(filled.directory).c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  for (const char* group : {"/ranks/work", "/ranks/series", "/ranks/timeline", "/rebalance", "/experts"}) ASSERT_GE(H5Ldelete(file, group, H5P_DEFAULT), 0);
  H5Fclose(file);
  const ResultsReader reader(filled.directory);
  EXPECT_TRUE(reader.work().empty() && reader.series().empty() && reader.timeline().empty() && reader.placement_changes().empty());
  EXPECT_TRUE(reader.expert_load().rows.empty() && reader.placement().expert.empty() && reader.capacity().kept.empty());
  EXPECT_TRUE(reader.routing_trace().rows.empty() && reader.expert_activation().rows.empty());
  EXPECT_FALSE(reader.timing().empty());
}

TEST_F(ResultsMasterTest, TheDigestDoesNotDependOnRanksOrBlocks) {
  const FilledFolder a = fill_folder(folder_ / "a", {.num_ranks = 1, .rows_per_block = 1000});
  prepare_output_directory(folder_ / "b", OnExisting::resume);
  for (int rank = 0; rank < 3; ++rank) {
    BlockWriter writer(folder_ / "b", RankId(rank), 5, "f00d");
    for (const Row& row : a.rows)
      if (row.input_line % 3 == rank && row.choice_idx == 0) {
        std::vector<Row> rows;
        for (const Row& other : a.rows)
          if (other.input_line == row.input_line) rows.push_back(other);
        writer.add(rows);
      }
    writer.finish();
  }
  EXPECT_EQ(write_master(folder_ / "a", sample_record(1)).digest, write_master(folder_ / "b", sample_record(1)).digest);
  EXPECT_EQ(rows_through_master(folder_ / "a"), rows_through_master(folder_ / "b"));
}

TEST_F(ResultsMasterTest, AMovedFolderReadsAsBefore) {
  const FilledFolder filled = fill_folder(folder_ / "before", {.num_lines = 30});
  write_master(filled.directory, sample_record(1));
  fs::rename(folder_ / "before", folder_ / "after");
  EXPECT_EQ(rows_through_master(folder_ / "after"), filled.rows);
}

TEST_F(ResultsMasterTest, ARemovedBlockReadsAsFillValuesAndTheOthersAsBefore) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 60});
  write_master(filled.directory, sample_record(1));
  const fs::path victim = block_files(filled.directory).at(2);
  std::vector<Row> lost;
  {
    const RowsFile file(victim);
    lost = file.read_rows(0, file.num_rows());
  }
  fs::remove(victim);
  const RowsFile master(master_path(filled.directory));
  const RowColumns columns = master.read_columns(0, master.num_rows());
  std::size_t num_missing = 0;
  for (std::size_t i = 0; i < filled.rows.size(); ++i) {
    const bool is_lost = std::find(lost.begin(), lost.end(), filled.rows[i]) != lost.end();
    ASSERT_EQ(columns.status[i] == missing_status, is_lost) << "row " << i;
    if (!is_lost) {
      EXPECT_EQ(master.read_rows(static_cast<std::int64_t>(i), 1).front(), filled.rows[i]);
      continue;
    }
    ++num_missing;
    EXPECT_TRUE(std::isnan(columns.sum_logprob[i]));
    EXPECT_EQ(columns.input_line[i], -1);
    EXPECT_EQ(columns.choice_idx[i], -1);
    EXPECT_EQ(columns.num_output_tokens[i], -1);
    EXPECT_EQ(columns.is_greedy[i], -1);
    EXPECT_EQ(columns.finish_reason[i], missing_status);
    const auto first = static_cast<std::size_t>(columns.token_offsets[i]);
    const auto last = static_cast<std::size_t>(columns.token_offsets[i + 1]);
    EXPECT_EQ(last - first, filled.rows[i].token_ids.size());
    const auto width = static_cast<std::size_t>(columns.topk_width);
    for (std::size_t token = first; token < last; ++token) {
      EXPECT_EQ(columns.token_id[token], -1);
      EXPECT_TRUE(std::isnan(columns.token_logprob[token]));
      for (std::size_t k_idx = 0; k_idx < width; ++k_idx) {
        EXPECT_EQ(columns.topk_id[token * width + k_idx], -1);
        EXPECT_TRUE(std::isnan(columns.topk_logprob[token * width + k_idx]));
      }
    }
    EXPECT_NE(failure_of([&] { std::ignore = master.read_rows(static_cast<std::int64_t>(i), 1); }).find("results.h5"),
              std::string::npos);
  }
  EXPECT_EQ(num_missing, lost.size());
}

// HDF5 looks for a block in the current folder when it is not beside the master.
TEST_F(ResultsMasterTest, ARemovedBlockIsNotReplacedByThatOfAnotherRunInTheCurrentFolder) {
  const FilledFolder a = fill_folder(folder_ / "a", {.seed = 1, .num_ranks = 1, .num_lines = 20});
  const FilledFolder b = fill_folder(folder_ / "b", {.seed = 2, .num_ranks = 1, .num_lines = 20});
  write_master(a.directory, sample_record(1));
  for (const fs::path& block : block_files(a.directory)) fs::remove(block);
  const fs::path before = fs::current_path();
  fs::current_path(b.directory);
  const RowsFile master(master_path(a.directory));
  const RowColumns columns = master.read_columns(0, master.num_rows());
  fs::current_path(before);
  EXPECT_EQ(columns.status, std::vector<std::uint8_t>(a.rows.size(), missing_status));
}

// A file that somebody else made must not make the program read files that he chose.
TEST_F(ResultsMasterTest, AForgedFileReadsNothingOutsideOfItsFolder) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 6});
  const std::string secret = (folder_ / "secret").native();
  std::ofstream(secret) << "what nobody is to see, and more of it than a rank needs";
  const fs::path other = folder_ / "other";
  fill_folder(other, {.num_lines = 6});
  write_master(other, sample_record(3));
  const std::string path = "/ranks/memory/rank";
  const auto forge = [&](const auto& change) {
    write_master(filled.directory, sample_record(3));
    const hid_t file = H5Fopen(master_path(filled.directory).c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    change(file);
    H5Fclose(file);
    return failure_of([&] { std::ignore = ResultsReader(filled.directory).memory(); });
  };
  const auto replaced = [&](hid_t file, hid_t creation) {
    const hsize_t size = 3;
    const hid_t space = H5Screate_simple(1, &size, nullptr);
    if (H5Pget_layout(creation) == H5D_VIRTUAL) {
      ASSERT_GE(H5Pset_virtual(creation, space, master_path(other).c_str(), path.c_str(), space), 0);
    }
    ASSERT_GE(H5Ldelete(file, path.c_str(), H5P_DEFAULT), 0);
    H5Dclose(H5Dcreate2(file, path.c_str(), H5T_STD_I32LE, space, H5P_DEFAULT, creation, H5P_DEFAULT));
    H5Sclose(space);
    H5Pclose(creation);
  };
  EXPECT_EQ(forge([](hid_t /*file*/) {}), "no failure");
  EXPECT_NE(forge([&](hid_t file) {
              const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
              ASSERT_GE(H5Pset_external(creation, secret.c_str(), 0, 12), 0);
              replaced(file, creation);
            }).find("a file beside HDF5"), std::string::npos);
  EXPECT_NE(forge([&](hid_t file) {
              const hid_t creation = H5Pcreate(H5P_DATASET_CREATE);
              ASSERT_GE(H5Pset_layout(creation, H5D_VIRTUAL), 0);
              replaced(file, creation);
            }).find(other.native()), std::string::npos);
  for (const std::string& link : {std::string("/ranks/memory/rank"), std::string("/ranks")}) {
    EXPECT_NE(forge([&](hid_t file) {
                ASSERT_GE(H5Ldelete(file, link.c_str(), H5P_DEFAULT), 0);
                ASSERT_GE(H5Lcreate_external(master_path(other).c_str(), link.c_str(), file, link.c_str(), H5P_DEFAULT, H5P_DEFAULT), 0);
              }).find("another place or file"), std::string::npos);
  }
}

TEST_F(ResultsMasterTest, EdgesOfTheShapesWork) {
  RowMaker make(1);
  Row bare = make.request(1, 1).front();
  bare = Row{.custom_id = "x",
             .input_line = 4,
             .message = "",
             .token_ids = {},
             .token_logprobs = {},
             .topk_ids = {},
             .topk_logprobs = {},
             .text = ""};
  Row tokens = bare;  // tokens, but no top-k
  tokens.input_line = 5;
  tokens.token_ids = {1, 2};
  tokens.token_logprobs = {-1.0F, -2.0F};
  const std::vector<std::vector<Row>> cases = {{}, {bare}, {tokens}, {bare, tokens}};
  for (std::size_t i = 0; i < cases.size(); ++i) {
    SCOPED_TRACE(i);
    const fs::path directory = folder_ / std::to_string(i);
    prepare_output_directory(directory, OnExisting::resume);
    BlockWriter writer(directory, RankId(0), 1, "f00d");
    for (const Row& row : cases[i]) writer.add({row});
    writer.finish();
    const MasterSummary summary = write_master(directory, RunRecord{});
    EXPECT_EQ(summary.num_rows, static_cast<std::int64_t>(cases[i].size()));
    EXPECT_EQ(rows_through_master(directory), cases[i]);
  }
}

TEST_F(ResultsMasterTest, AFolderThatIsNotWholeGetsNoMaster) {
  const auto refusal = [&](const std::string& name, const std::function<void(const fs::path&)>& harm) {
    const FilledFolder filled = fill_folder(folder_ / name, {.num_lines = 30});
    harm(filled.directory);
    const std::string message = failure_of([&] { write_master(filled.directory, sample_record(1)); });
    EXPECT_FALSE(fs::exists(master_path(filled.directory)));
    return message;
  };
  std::string victim;
  const std::string missing = refusal("missing", [&](const fs::path& directory) {
    victim = block_files(directory).at(1).filename().native();
    fs::remove(block_files(directory).at(1));
  });
  EXPECT_NE(missing.find(victim), std::string::npos) << missing;
  const std::string damaged = refusal("damaged", [](const fs::path& directory) {
    std::string text = content_of(journal_path(directory));
    text[40] ^= 1;
    set_content(journal_path(directory), text);
  });
  EXPECT_NE(damaged.find("line 1 of the journal"), std::string::npos) << damaged;
  const std::string twice = refusal("twice", [](const fs::path& directory) {
    RowMaker make(1);
    BlockWriter writer(directory, RankId(9), 10, "f00d");
    writer.add(make.request(17, 1));
    writer.finish();
  });
  EXPECT_NE(twice.find("line 17 choice 0"), std::string::npos) << twice;
}

TEST_F(ResultsMasterTest, BlocksWithoutRecordDoNotCount) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 30});
  fs::copy_file(block_files(filled.directory).at(0), filled.directory / "blocks/r0-77-00000000.h5");
  write_master(filled.directory, sample_record(1));
  EXPECT_EQ(rows_through_master(filled.directory), filled.rows);
}

TEST_F(ResultsMasterTest, TheToolsOfHdf5ReadIt) {
  const FilledFolder filled = fill_folder(folder_ / "run", {.num_lines = 30});
  write_master(filled.directory, sample_record(1));
  const std::string quiet = " > " + (folder_ / "out").native();
  EXPECT_EQ(std::system(("h5dump -A " + master_path(filled.directory).native() + quiet).c_str()), 0);
  const std::string header = content_of(folder_ / "out");
  for (const char* part : {"long_name", "units", "\"bad_json\"", "invariance_digest", "num_rows_expected"})
    EXPECT_NE(header.find(part), std::string::npos) << part;
  EXPECT_EQ(std::system(("h5ls -r " + master_path(filled.directory).native() + quiet).c_str()), 0);
  EXPECT_NE(content_of(folder_ / "out").find("/experts/placement"), std::string::npos);
  EXPECT_EQ(std::system(("h5dump " + block_files(filled.directory).at(0).native() + quiet).c_str()), 0);
}

}  // namespace
}  // namespace moebius::io
