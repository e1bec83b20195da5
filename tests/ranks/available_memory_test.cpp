// SPDX-License-Identifier: Apache-2.0
#include "ranks/available_memory.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>

#include "base/failure.hpp"

namespace moebius::ranks {
namespace {

class AvailableMemoryTest : public ::testing::Test {
 protected:
  AvailableMemoryTest() {
    const auto* test = ::testing::UnitTest::GetInstance()->current_test_info();
    root_ = std::filesystem::path(MOEBIUS_BINARY_DIR) / "tests/ranks/tmp/available_memory" / test->name();
    std::filesystem::remove_all(root_);
    write("proc/meminfo", "MemTotal:       24000000 kB\nMemFree:  100 kB\nMemAvailable:   1000000 kB\n");
  }
  void write(const std::string& name, const std::string& text) {
    std::filesystem::create_directories((root_ / name).parent_path());
    std::ofstream(root_ / name) << text;
  }
  [[nodiscard]] std::int64_t bytes() const { return available_memory_below(root_).available_bytes; }
  std::filesystem::path root_;
};

TEST_F(AvailableMemoryTest, without_groups_it_is_what_the_kernel_calls_available) {
  EXPECT_EQ(bytes(), 1000000 * 1024);
  EXPECT_EQ(available_memory_below(root_).limit, "MemAvailable of /proc/meminfo");
}

TEST_F(AvailableMemoryTest, a_group_of_version_2_limits_and_so_do_those_above_it) {
  write("proc/self/cgroup", "0::/job/step\n");
  write("sys/fs/cgroup/job/step/memory.max", "max\n");
  write("sys/fs/cgroup/job/step/memory.current", "5\n");
  EXPECT_EQ(bytes(), 1000000 * 1024);
  write("sys/fs/cgroup/job/memory.max", "500000\n");
  write("sys/fs/cgroup/job/memory.current", "200000\n");
  EXPECT_EQ(bytes(), 300000);
  write("sys/fs/cgroup/job/memory.stat", "anon 1\ninactive_file 50000\nactive_file 7\n");
  EXPECT_EQ(bytes(), 350000);
  write("sys/fs/cgroup/memory.max", "100\n");
  write("sys/fs/cgroup/memory.current", "200\n");
  EXPECT_EQ(bytes(), 0);  // over its limit: nothing is left
}

TEST_F(AvailableMemoryTest, a_group_of_version_1_limits_and_inside_a_container_its_top_does) {
  write("proc/self/cgroup", "12:cpu,cpuacct:/x\n9:memory:/docker/0123\n1:name=systemd:/y\n");
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  write("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000\n");
  EXPECT_EQ(bytes(), 1000000 * 1024);
  write("sys/fs/cgroup/memory/memory.limit_in_bytes", "70000\n");
  write("sys/fs/cgroup/memory/memory.stat", "inactive_file 1\ntotal_inactive_file 400\n");
  EXPECT_EQ(bytes(), 69400);
}

TEST_F(AvailableMemoryTest, the_variable_replaces_what_the_machine_says) {
  ASSERT_EQ(setenv("MOEBIUS_MEMORY_LIMIT", "12345", 1), 0);
  EXPECT_EQ(available_memory(0.5).available_bytes, 12345);
  ASSERT_EQ(setenv("MOEBIUS_MEMORY_LIMIT", "12k", 1), 0);
  EXPECT_THROW(available_memory(1.0), Failure);
  unsetenv("MOEBIUS_MEMORY_LIMIT");
  EXPECT_GT(available_memory(0.5).available_bytes, 1 << 20);
}

}  // namespace
}  // namespace moebius::ranks
