// SPDX-License-Identifier: Apache-2.0
#include "ranks/time_left.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace moebius::ranks {
namespace {

TEST(TimeLeft, DurationsAsSlurmWritesThem) {
  EXPECT_EQ(parse_duration_s("90"), 90);
  EXPECT_EQ(parse_duration_s("59:30"), 59 * 60 + 30);
  EXPECT_EQ(parse_duration_s("3:00:01"), 3 * 3600 + 1);
  EXPECT_EQ(parse_duration_s("1-12"), 86400 + 12 * 3600);
  EXPECT_EQ(parse_duration_s("1-12:30"), 86400 + 12 * 3600 + 30 * 60);
  EXPECT_EQ(parse_duration_s("2-00:00:05"), 2 * 86400 + 5);
  for (const char* other : {"", "UNLIMITED", "INVALID", "NOT_SET", "1:", ":1", "-1", "1--2", "1:2:3:4", "1-2-3", "1.5", "1 ", "99999999999"})
    EXPECT_FALSE(parse_duration_s(other)) << other;
}

class SlurmTimeLeft : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = std::getenv("PATH");
    folder_ = std::filesystem::path(MOEBIUS_BINARY_DIR) / "tests/ranks/squeue_of_a_test";
    std::filesystem::create_directories(folder_);
    ::unsetenv("SLURM_JOB_END_TIME");
    ::unsetenv("SLURM_JOB_ID");
  }
  void TearDown() override {
    ::setenv("PATH", path_.c_str(), 1);
    ::unsetenv("SLURM_JOB_END_TIME");
    ::unsetenv("SLURM_JOB_ID");
  }
  /// A squeue that prints `answer` when it is asked for job 77.
  void answer(const std::string& answer) const {
    const auto file = folder_ / "squeue";
    std::ofstream(file) << "#!/bin/sh\n[ \"$*\" = '-h -j 77 -o %L' ] && echo '" << answer << "'\n";
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
    ::setenv("PATH", (folder_.string() + ":" + path_).c_str(), 1);
  }
  std::filesystem::path folder_;
  std::string path_;
};

TEST_F(SlurmTimeLeft, OutsideOfSlurmThereIsNoLimit) { EXPECT_FALSE(slurm_time_left_s()); }

TEST_F(SlurmTimeLeft, TheEndTimeGoesFirst) {
  const auto now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  ::setenv("SLURM_JOB_END_TIME", std::to_string(static_cast<long long>(now) + 1000).c_str(), 1);
  const auto left = slurm_time_left_s();
  ASSERT_TRUE(left);
  EXPECT_NEAR(*left, 1000, 3);
  ::setenv("SLURM_JOB_END_TIME", "1", 1);
  EXPECT_EQ(slurm_time_left_s(), 0);
}

TEST_F(SlurmTimeLeft, SqueueIsAskedForThisJob) {
  ::setenv("SLURM_JOB_ID", "77", 1);
  answer("1:02:03");
  EXPECT_EQ(slurm_time_left_s(), 3723);
  answer("UNLIMITED");
  EXPECT_FALSE(slurm_time_left_s());
  ::setenv("SLURM_JOB_ID", "78", 1);
  EXPECT_FALSE(slurm_time_left_s());
  ::setenv("SLURM_JOB_ID", "77; touch /tmp/x", 1);
  EXPECT_FALSE(slurm_time_left_s());
}

}  // namespace
}  // namespace moebius::ranks
