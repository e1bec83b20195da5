// SPDX-License-Identifier: Apache-2.0
#include "io/hdf5_handle.hpp"

#include <sys/resource.h>

#include <csignal>
#include <utility>

#include "io/hdf5_data.hpp"
#include "tests/io/results_support.hpp"

namespace moebius::io {
namespace {

using Hdf5Test = FolderTest;

TEST_F(Hdf5Test, FailuresCarryTheTextOfHdf5AndNothingIsPrinted) {
  testing::internal::CaptureStderr();
  const std::string absent = failure_of([&] { open_hdf5(folder_ / "absent.h5"); });
  EXPECT_NE(absent.find("No such file"), std::string::npos) << absent;
  EXPECT_NE(absent.find("absent.h5"), std::string::npos) << absent;
  const std::string other = failure_of([&] { open_hdf5(write("text.h5", "this is no HDF5 file")); });
  EXPECT_NE(other.find("text.h5"), std::string::npos) << other;
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

TEST_F(Hdf5Test, AHandleClosesOnceAndMovesItsIdentifier) {
  const auto num_open = [] { return H5Fget_obj_count(static_cast<hid_t>(H5F_OBJ_ALL), H5F_OBJ_FILE); };
  const auto before = num_open();
  {
    Hdf5File first = create_hdf5(folder_ / "a.h5");
    EXPECT_EQ(num_open(), before + 1);
    Hdf5File second = std::move(first);
    EXPECT_FALSE(first.valid());
    EXPECT_TRUE(second.valid());
    second = create_hdf5(folder_ / "b.h5");  // gives the first file back
    EXPECT_EQ(num_open(), before + 1);
    second.close("b.h5");
    EXPECT_FALSE(second.valid());
  }
  EXPECT_EQ(num_open(), before);
  EXPECT_TRUE(open_hdf5(folder_ / "a.h5").valid());
}

TEST_F(Hdf5Test, AFileWithAnOpenDatasetCannotBeClosedUnnoticed) {
  Hdf5File file = create_hdf5(folder_ / "a.h5");
  const ArraySpec spec{"/x", ElementKind::i32, "a", "1"};
  const std::int32_t value = 3;
  const hsize_t dims[] = {1};
  write_array(file.get(), spec, dims, &value);
  const OpenArray open = open_array(file.get(), "/x");
  EXPECT_THROW(file.close("a.h5"), Failure);
}

// A limit on the file size is the full disk that a test can have.
TEST_F(Hdf5Test, AFullDiskIsAFailureAndNotACrash) {
  const std::vector<std::uint64_t> noise = [] {
    std::mt19937_64 random(1);
    std::vector<std::uint64_t> values(100000);
    for (auto& value : values) value = random();
    return values;
  }();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{.rlim_cur = 65536, .rlim_max = before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string message = "no failure";
  try {
    Hdf5File file = create_hdf5(folder_ / "a.h5");
    const hsize_t dims[] = {noise.size()};
    write_array(file.get(), {"/x", ElementKind::u64, "noise", "1"}, dims, noise.data());
    file.close((folder_ / "a.h5").native());
  } catch (const Failure& failure) {
    message = failure.what();
  }
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(message.find("a.h5"), std::string::npos) << message;
}

TEST_F(Hdf5Test, TextsOfAnyLengthComeBack) {
  const std::string toml(100000, 'x');  // beyond the 64 KiB that fit into an object header
  const std::vector<std::string> names = {"", "a", "größer"};
  Hdf5File file = create_hdf5(folder_ / "a.h5");
  write_attribute(file.get(), "toml", toml);
  write_attribute(file.get(), "empty", "");
  write_attribute(file.get(), "least", std::int64_t{-5});
  write_attribute(file.get(), "most", ~std::uint64_t{0});
  write_strings(file.get(), {"/deep/names", ElementKind::byte, "names", "UTF-8"}, names);
  write_strings(file.get(), {"/deep/none", ElementKind::byte, "names", "UTF-8"}, {});
  file.close("a.h5");
  const Hdf5File again = open_hdf5(folder_ / "a.h5");
  const std::vector<std::pair<std::string, std::string>> wanted = {
      {"empty", ""}, {"least", "-5"}, {"most", "18446744073709551615"}, {"toml", toml}};
  EXPECT_EQ(read_attributes(again.get()), wanted);
  EXPECT_EQ(read_strings(again.get(), "/deep/names"), names);
  EXPECT_TRUE(read_strings(again.get(), "/deep/none").empty());
}

}  // namespace
}  // namespace moebius::io
