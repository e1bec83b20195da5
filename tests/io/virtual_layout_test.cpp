// SPDX-License-Identifier: Apache-2.0
#include "io/virtual_layout.hpp"

#include <algorithm>
#include <numeric>

#include "io/hdf5_data.hpp"
#include "io/output_directory.hpp"
#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

constexpr ArraySpec spec{"/x", ElementKind::i64, "values", "1"};
class VirtualLayoutTest : public FolderTest {
 protected:
  void SetUp() override {
    FolderTest::SetUp();
    std::filesystem::create_directories(folder_ / "blocks");
  }
};

/// Of nothing else does a file of ours hold elements.
std::string source(std::size_t block) { return "blocks/" + block_name({.rank = RankId(0), .sequence = static_cast<std::int64_t>(block)}, 0); }

void write_values(const std::filesystem::path& name, std::vector<hsize_t> dims,
                  const std::vector<std::int64_t>& values) {
  Hdf5File file = create_hdf5(name);
  write_array(file.get(), spec, dims, values.data());
  file.close(name.native());
}

void write_mapped(const std::filesystem::path& name, const VirtualLayout& layout) {
  const Hdf5Properties creation = new_array_layout(spec.kind);
  layout.apply(creation.get(), spec.path);
  Hdf5File file = create_hdf5(name);
  write_virtual_array(file.get(), spec, layout.dims(), creation.get());
  file.close(name.native());
}

std::vector<std::int64_t> read_values(const std::filesystem::path& name, hsize_t first, hsize_t count) {
  const Hdf5File file = open_hdf5(name);
  const OpenArray array = open_array(file.get(), spec.path);
  std::vector<std::int64_t> values(count * (array.dims.size() == 2 ? array.dims[1] : 1));
  read_array(array, spec, first, count, values.data());
  return values;
}

TEST(AppendRun, JoinsNeighboursAndDropsEmptyRuns) {
  std::vector<ElementRun> runs;
  for (const ElementRun run :
       {ElementRun{0, 2}, ElementRun{2, 0}, ElementRun{2, 3}, ElementRun{6, 1}, ElementRun{7, 1}})
    append_run(runs, run);
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[0].first, 0U);
  EXPECT_EQ(runs[0].count, 5U);
  EXPECT_EQ(runs[1].first, 6U);
  EXPECT_EQ(runs[1].count, 2U);
}

// Every element to a random block: the worst case, with more runs than one mapping takes.
TEST_F(VirtualLayoutTest, ElementsInAnyOrderAreFoundAgain) {
  constexpr std::size_t num_elements = 3000, num_blocks = 4;
  std::mt19937 random(11);
  std::vector<std::vector<ElementRun>> runs(num_blocks);
  std::vector<std::vector<std::int64_t>> values(num_blocks);
  std::vector<std::int64_t> wanted(num_elements);
  std::iota(wanted.begin(), wanted.end(), 0);
  for (const std::int64_t value : wanted) {
    const std::size_t block = random() % num_blocks;
    append_run(runs[block], {static_cast<hsize_t>(value), 1});
    values[block].push_back(value);
  }
  VirtualLayout layout(num_elements);
  for (std::size_t block = 0; block < num_blocks; ++block) {
    const std::string name = source(block);
    write_values(folder_ / name, {values[block].size()}, values[block]);
    layout.add_block(name, runs[block]);
  }
  EXPECT_GT(layout.num_mappings(), num_blocks);
  write_mapped(folder_ / "master.h5", layout);
  EXPECT_EQ(read_values(folder_ / "master.h5", 0, num_elements), wanted);
  EXPECT_EQ(read_values(folder_ / "master.h5", 1234, 17),
            std::vector<std::int64_t>(wanted.begin() + 1234, wanted.begin() + 1251));
}

TEST_F(VirtualLayoutTest, ANarrowTableLeavesFillValuesBesideIt) {
  write_values(folder_ / source(0), {2, 1}, {10, 20});
  write_values(folder_ / source(1), {1, 2}, {30, 31});
  VirtualLayout layout(3, 2);
  const std::vector<ElementRun> outer = {{0, 1}, {2, 1}}, inner = {{1, 1}};
  layout.add_block(source(0), outer, 1);
  layout.add_block(source(1), inner, 2);
  write_mapped(folder_ / "master.h5", layout);
  EXPECT_EQ(read_values(folder_ / "master.h5", 0, 3), (std::vector<std::int64_t>{10, -1, 30, 31, 20, -1}));
}

TEST_F(VirtualLayoutTest, NothingMapsToNothing) {
  for (const auto width : {std::optional<hsize_t>{}, std::optional<hsize_t>{0}, std::optional<hsize_t>{3}}) {
    VirtualLayout layout(0, width);
    layout.add_block(source(0), {}, width.value_or(1));
    EXPECT_EQ(layout.num_mappings(), 0U);
    write_mapped(folder_ / "master.h5", layout);
    EXPECT_TRUE(read_values(folder_ / "master.h5", 0, 0).empty());
  }
}

// HDF5 cannot store a union of runs that reaches beyond 2^32 elements.
TEST_F(VirtualLayoutTest, RunsBeyondTheRangeOfAUnionAreMappedOneByOne) {
  constexpr hsize_t far = hsize_t{1} << 33;
  write_values(folder_ / source(0), {3}, {7, 8, 9});
  VirtualLayout layout(far + 10);
  const std::vector<ElementRun> runs = {{5, 1}, {far + 1, 2}};
  layout.add_block(source(0), runs);
  EXPECT_EQ(layout.num_mappings(), 2U);
  write_mapped(folder_ / "master.h5", layout);
  EXPECT_EQ(read_values(folder_ / "master.h5", 4, 3), (std::vector<std::int64_t>{-1, 7, -1}));
  EXPECT_EQ(read_values(folder_ / "master.h5", far, 4), (std::vector<std::int64_t>{-1, 8, 9, -1}));
}

TEST_F(VirtualLayoutTest, ElementsBeyondTheMasterAreRefused) {
  VirtualLayout layout(3);
  const std::vector<ElementRun> runs = {{2, 2}};
  EXPECT_THROW(layout.add_block(source(0), runs), std::logic_error);
}

}  // namespace
}  // namespace moebius::io
