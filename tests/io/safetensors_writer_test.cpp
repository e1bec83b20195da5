// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors_writer.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>


#include "io/safetensors.hpp"
#include "tests/io/input_support.hpp"

namespace moebius::io {
namespace {

using ::testing::HasSubstr;

class SafetensorsWriterTest : public FolderTest {
 protected:
  const std::vector<NewTensor> tensors_{{"b", DType::bf16, {3, 7}},
                                        {"a", DType::f32, {2'100'000}},  // more than one piece
                                        {"empty", DType::f16, {0, 4}},
                                        {"c", DType::f8_e4m3, {5}}};
  /// Byte i of tensor t is (t + i) modulo 251.
  static void source(const std::vector<NewTensor>& tensors, std::size_t tensor_idx, std::int64_t first, std::span<std::byte> out) {
    const auto begin = static_cast<std::size_t>(first) * dtype_bytes(tensors[tensor_idx].dtype);
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>((tensor_idx + begin + i) % 251);
  }
  std::int64_t write_all(std::int64_t max_shard_bytes) {
    return write_checkpoint(
        folder_, tensors_, [&](std::size_t t, std::int64_t first, std::span<std::byte> out) { source(tensors_, t, first, out); },
        max_shard_bytes);
  }
  void expect_all(const Checkpoint& checkpoint) {
    EXPECT_EQ(checkpoint.names().size(), tensors_.size());
    for (std::size_t t = 0; t < tensors_.size(); ++t) {
      const auto found = checkpoint.find(tensors_[t].name);
      ASSERT_TRUE(found) << tensors_[t].name;
      EXPECT_EQ(found->dtype, tensors_[t].dtype);
      EXPECT_EQ(found->shape, tensors_[t].shape);
      std::vector<std::byte> expected(static_cast<std::size_t>(tensors_[t].num_bytes()));
      source(tensors_, t, 0, expected);
      EXPECT_TRUE(std::ranges::equal(read_bytes(*found), expected)) << tensors_[t].name;
    }
  }
};

TEST_F(SafetensorsWriterTest, what_was_written_is_read_from_one_file_and_from_shards) {
  const std::int64_t total = 42 + 8'400'000 + 0 + 5;
  EXPECT_EQ(write_all(default_shard_bytes), total);
  expect_all(Checkpoint::open(folder_));
  EXPECT_EQ(write_all(50), total);
  // "a" is larger than a shard may be and stands alone; what follows does not fit beside it.
  for (const char* name : {"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors", "model-00003-of-00003.safetensors"}) {
    EXPECT_TRUE(std::filesystem::exists(folder_ / name)) << name;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ / "model.safetensors"));
  expect_all(Checkpoint::open(folder_));
  EXPECT_EQ(Checkpoint::open(folder_).total_bytes(), total);
}

TEST_F(SafetensorsWriterTest, a_folder_that_is_not_there_is_a_failure) {
  std::filesystem::remove_all(folder_);
  EXPECT_THAT(failure_of([&] { write_all(50); }), HasSubstr("model-00001-of-00003.safetensors"));
}

}  // namespace
}  // namespace moebius::io
