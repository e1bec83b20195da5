// SPDX-License-Identifier: Apache-2.0
#include "io/safetensors.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "base/check.hpp"
#include "base/failure.hpp"
#include "io/safetensors_header.hpp"
#include "tests/io/input_support.hpp"

namespace moebius::io {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class SafetensorsTest : public FolderTest {};

std::string text_of(const TensorRef& tensor) {
  const auto bytes = read_bytes(tensor);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string with_length(const std::string& json, const std::string& data) {
  std::string file(8, '\0');
  for (int idx = 0; idx < 8; ++idx) file[idx] = static_cast<char>((json.size() >> (8 * idx)) & 0xff);
  return file + json + data;
}

const std::string good_header =
    R"({"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},)"
    R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[24,32]},"none":{"dtype":"F32","shape":[0,7],"data_offsets":[32,32]},)"
    R"("scalar":{"dtype":"I64","shape":[],"data_offsets":[32,40]}})";
const std::string good_data = "abcdefghijklmnopqrstuvwxyz0123456789ABCD";  // 40 bytes

TEST_F(SafetensorsTest, reads_shapes_types_and_bytes) {
  const auto checkpoint = Checkpoint::open_file(write("x.safetensors", with_length(good_header, good_data)));
  EXPECT_THAT(checkpoint.names(), ElementsAre("a", "b", "none", "scalar"));
  EXPECT_EQ(checkpoint.total_bytes(), 40);
  const auto a = checkpoint.find("a");
  ASSERT_TRUE(a);
  EXPECT_EQ(a->dtype, DType::f32);
  EXPECT_THAT(a->shape, ElementsAre(2, 3));
  EXPECT_EQ(text_of(*a), good_data.substr(0, 24));
  EXPECT_EQ(a->file, (folder_ / "x.safetensors").string());
  EXPECT_EQ(checkpoint.find("none")->num_bytes, 0U);
  EXPECT_EQ(text_of(*checkpoint.find("scalar")), "6789ABCD");
  EXPECT_FALSE(checkpoint.find("c"));
  EXPECT_FALSE(checkpoint.find("__metadata__"));
}

TEST_F(SafetensorsTest, a_lookup_outlives_a_move_of_its_checkpoint) {
  auto first = Checkpoint::open_file(write("x.safetensors", with_length(good_header, good_data)));
  const auto lookup = first.lookup();
  const auto second = std::move(first);
  EXPECT_EQ(text_of(*lookup("b")), good_data.substr(24, 8));
  EXPECT_FALSE(lookup("c"));
}

TEST_F(SafetensorsTest, a_file_that_is_cut_short_while_it_is_open_is_a_failure_with_file_and_tensor) {
  const auto path = write("x.safetensors", with_length(good_header, good_data));
  const auto checkpoint = Checkpoint::open_file(path);
  EXPECT_EQ(text_of(*checkpoint.find("scalar")), "6789ABCD");
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 3);
  EXPECT_EQ(text_of(*checkpoint.find("a")), good_data.substr(0, 24));
  const auto message = failure_of([&] { read_bytes(*checkpoint.find("scalar")); });
  EXPECT_THAT(message, HasSubstr("tensor \"scalar\""));
  EXPECT_THAT(message, HasSubstr(path.string() + " ends at byte"));
}

TEST_F(SafetensorsTest, counts_what_is_read_of_tensors) {
  const auto checkpoint = Checkpoint::open_file(write("x.safetensors", with_length(good_header, good_data)));
  EXPECT_EQ(checkpoint.counters().bytes, 0);
  read_bytes(*checkpoint.find("a"));
  std::vector<std::byte> part(3);
  checkpoint.find("b")->read(5, part);
  EXPECT_EQ(checkpoint.counters().bytes, 27);
  EXPECT_EQ(checkpoint.counters().calls, 2);
  EXPECT_THROW(checkpoint.find("b")->read(6, part), ContractError);
}

TEST_F(SafetensorsTest, fingerprint_sees_header_size_and_data_but_not_the_place) {
  const auto print = [&](const std::string& name, const std::string& header, const std::string& data) {
    return Checkpoint::open_file(write(name, with_length(header, data))).fingerprint();
  };
  const auto original = print("1", good_header, good_data);
  EXPECT_EQ(original, print("2", good_header, good_data));
  EXPECT_NE(original, print("3", good_header + " ", good_data));
  auto other_data = good_data;
  other_data[39] = '?';
  EXPECT_NE(original, print("4", good_header, other_data));
}

TEST_F(SafetensorsTest, reads_a_published_model) {
  for (const std::string model : {"inputs/models/tiny", "tests/data/goldens/models/qwen3_moe"}) {
    const auto checkpoint = Checkpoint::open(source_path(model));
    const auto embedding = checkpoint.find("model.embed_tokens.weight");
    ASSERT_TRUE(embedding) << model;
    EXPECT_EQ(embedding->dtype, DType::bf16);
    EXPECT_EQ(embedding->num_bytes, static_cast<std::size_t>(embedding->shape[0] * embedding->shape[1] * 2));
  }
}

struct BadHeader {
  std::string header, data, part_of_message;
};

TEST_F(SafetensorsTest, names_what_is_wrong_with_a_header) {
  const std::vector<BadHeader> cases = {
      {"[]", "", "its header is a list"},
      {"", "", "its header is not JSON"},
      {R"({"a":1})", "", R"(tensor "a": its "dtype" is missing or mistyped)"},
      {R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", "1234", R"(tensor "a": unknown dtype "F33")"},
      {R"({"a":{"dtype":"F32","shape":1,"data_offsets":[0,4]}})", "1234", R"("shape" is missing or mistyped)"},
      {R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", "1234", "a size of its shape is -1"},
      {R"({"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}})", "1234", "a size of its shape is 1.0"},
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", "1234", "a size of its shape"},
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", "", "larger than any file"},
      {R"({"a":{"dtype":"F64","shape":[1152921504606846976,2],"data_offsets":[0,0]}})", "", "larger than any file"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0]}})", "1234", "not two numbers"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", "1234", "it claims bytes 4 to 0"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}})", "1234", "it claims bytes 0 to 8 of 4"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", "1234",
       "it has 4 bytes, its shape and dtype need 8"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})", "1234",
       "begins at data byte 2 where 0 was expected"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}})", "1234", "tensors end at byte"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]},"b":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})",
       "1234", R"(tensor "b": it begins at data byte 2 where 3 was expected)"},
      {R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
       "1234", R"(key "a" appears twice)"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}})", "1234", R"(tensor "a": its first offset is -4)"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775808]}})", "1234", R"(tensor "a": its last offset is 9223372036854775808)"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[9223372036854775807,9223372036854775807]}})", "1234", R"(tensor "a": it claims bytes)"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4.0]}})", "1234", R"(tensor "a": its last offset is 4.0)"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":["0","4"]}})", "1234", R"(tensor "a": its first offset is "0")"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e400]}})", "1234", "not JSON"},
      {R"({"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}})", "1234",
       R"(tensor "b": it begins at data byte 0 where 4 was expected)"},
      {R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", "1234", R"(tensor "a": a size of its shape is a list)"},
      {R"({"a":{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}})", "1234", R"(tensor "a": its "dtype" is missing or mistyped)"},
      {R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}} {})", "1234", "not JSON"},
      {std::string(100000, '['), "", "nested more than 64 deep"},
  };
  for (const auto& bad : cases) {
    const auto path = write("bad.safetensors", with_length(bad.header, bad.data));
    const auto message = failure_of([&] { Checkpoint::open_file(path); });
    EXPECT_THAT(message, HasSubstr(bad.part_of_message)) << bad.header.substr(0, 120);
    EXPECT_THAT(message, HasSubstr(path.string()));
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST_F(SafetensorsTest, refuses_a_wrong_length_field) {
  EXPECT_THAT(failure_of([&] { Checkpoint::open_file(write("x", "")); }), HasSubstr("it has 0 bytes"));
  EXPECT_THAT(failure_of([&] { Checkpoint::open_file(write("x", "1234567")); }), HasSubstr("it has 7 bytes"));
  EXPECT_THAT(failure_of([&] { Checkpoint::open_file(write("x", std::string(8, '\xff'))); }),
              HasSubstr("header claims"));
  // One byte more than any header may have, in a file that would be large enough.
  const auto large = write("large", std::string("\x01\xe1\xf5\x05\0\0\0\0{}", 10));
  std::filesystem::resize_file(large, 200'000'000);
  EXPECT_THAT(failure_of([&] { Checkpoint::open_file(large); }), HasSubstr("its header claims 100000001 bytes"));
  std::filesystem::remove(large);
  EXPECT_THAT(failure_of([&] { Checkpoint::open_file(write("x", std::string("\x05\0\0\0\0\0\0\0{}", 10))); }),
              HasSubstr("header claims 5 bytes"));
}

TEST_F(SafetensorsTest, every_truncation_is_refused) {
  const auto whole = with_length(good_header, good_data);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const auto path = write("x", whole.substr(0, size));
    EXPECT_NE(failure_of([&] { Checkpoint::open_file(path); }), "no failure") << size;
  }
}

TEST_F(SafetensorsTest, missing_files_and_folders) {
  EXPECT_THAT(failure_of([&] { Checkpoint::open(folder_ / "nowhere"); }), HasSubstr("holds no weights"));
  EXPECT_THAT(failure_of([&] { Checkpoint::open("nowhere"); }), HasSubstr("relative paths start at"));
  EXPECT_THAT(failure_of([&] { Checkpoint::open_file(folder_); }), HasSubstr("it is a folder"));
  EXPECT_THAT(failure_of([&] { Checkpoint::open_file("/dev/null"); }), HasSubstr("not a regular file"));
}

// Shards ---------------------------------------------------------------------------------------

std::string one_tensor(const std::string& name, const std::string& data) {
  return with_length(R"({")" + name + R"(":{"dtype":"U8","shape":[)" + std::to_string(data.size()) +
                         R"(],"data_offsets":[0,)" + std::to_string(data.size()) + "]}}",
                     data);
}

TEST_F(SafetensorsTest, reads_shards_through_the_index) {
  write("one.safetensors", one_tensor("a", "aaaa"));
  write("two.safetensors", one_tensor("b", "bb"));
  write("model.safetensors.index.json",
        R"({"metadata":{},"weight_map":{"b":"two.safetensors","a":"one.safetensors"}})");
  const auto checkpoint = Checkpoint::open(folder_);
  EXPECT_THAT(checkpoint.names(), ElementsAre("a", "b"));
  EXPECT_EQ(checkpoint.total_bytes(), 6);
  EXPECT_EQ(text_of(*checkpoint.find("a")), "aaaa");
  EXPECT_EQ(text_of(*checkpoint.find("b")), "bb");
  EXPECT_THAT(checkpoint.find("b")->file, HasSubstr("two.safetensors"));
}

TEST_F(SafetensorsTest, refuses_a_broken_index) {
  write("one.safetensors", one_tensor("a", "aaaa"));
  write("two.safetensors", one_tensor("b", "bb"));
  const std::vector<std::pair<std::string, std::string>> cases = {
      {R"({"weight_map":{"a":"one.safetensors","b":"one.safetensors"}})", R"(tensor "b" is not in)"},
      {R"({"weight_map":{"a":"gone.safetensors"}})", "gone.safetensors"},
      {R"({"weight_map":{"a":"two.safetensors","b":"one.safetensors"}})", R"(tensor "a" is not in)"},
      {R"({"weight_map":{"a":"one.safetensors","a":"two.safetensors"}})", R"(key "a" appears twice)"},
      {R"({"weight_map":{"a":"/etc/passwd"}})", "not the name of a file in the same folder"},
      {R"({"weight_map":{"a":"../one.safetensors"}})", "not the name of a file in the same folder"},
      {R"({"weight_map":{"a":"one\nmore"}})", R"("one\nmore" (that is not the name of a file in the same folder)"},
      {R"({"weight_map":{"a":".."}})", "not the name of a file in the same folder"},
      {R"({"weight_map":{"a":7}})", "not the name of a file in the same folder"},
      {R"({"weight_map":{}})", "names no tensors"},
      {R"({"weight_map":[1]})", "names no tensors"},
      {R"([])", "names no tensors"},
      {R"({"weight_map":{)", "is not valid JSON"},
      {"", "is not valid JSON"},
  };
  for (const auto& [index, part] : cases) {
    write("model.safetensors.index.json", index);
    EXPECT_THAT(failure_of([&] { Checkpoint::open(folder_); }), HasSubstr(part)) << index;
  }
}

// Mutations ------------------------------------------------------------------------------------

constexpr std::string_view alphabet = "0123456789{}[]\",:-.";

/// What every accepted header must promise: tensors inside the data section that do not overlap and
/// have the size of their shape.
void expect_sound(const SafetensorsHeader& header, std::size_t file_bytes) {
  auto expected = header.num_bytes;
  for (const auto& tensor : header.tensors) {
    ASSERT_EQ(tensor.begin, expected);
    ASSERT_LE(tensor.begin, tensor.end);
    std::int64_t num_elements = 1;
    for (const auto size : tensor.shape) num_elements *= size;
    if (tensor.dtype != DType::other) {
      ASSERT_EQ(tensor.end - tensor.begin, num_elements * static_cast<std::int64_t>(dtype_bytes(tensor.dtype)));
    }
    expected = tensor.end;
  }
  ASSERT_EQ(expected, static_cast<std::int64_t>(file_bytes));
}

TEST_F(SafetensorsTest, mutated_headers_are_refused_or_sound) {
  const std::uint64_t seed = 20240611;
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto whole = with_length(good_header, good_data);
  int num_refused = 0, num_accepted = 0;
  for (int round = 0; round < 20000; ++round) {
    const auto text = mutate(whole, random, alphabet);
    // A copy of exactly this size on the heap, so that a sanitizer sees a read past the end.
    const std::vector<char> exact(text.begin(), text.end());
    try {
      expect_sound(parse_safetensors_header(std::as_bytes(std::span(exact)), "mutant"), exact.size());
      ++num_accepted;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::unreadable_input);
      ++num_refused;
    }
    if (HasFatalFailure()) FAIL() << "seed " << seed << " round " << round;
  }
  EXPECT_GT(num_refused, 10000);
  EXPECT_GT(num_accepted, 100);  // some edits touch only data or free text
}

TEST_F(SafetensorsTest, mutated_files_are_refused_or_readable) {
  const std::uint64_t seed = 77;
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  const auto whole = with_length(good_header, good_data);
  for (int round = 0; round < 3000; ++round) {
    const auto text = mutate(whole, random, alphabet);
    const auto path = write("mutant", text);
    try {
      const auto checkpoint = Checkpoint::open_file(path);
      std::size_t sum = 0;
      for (const auto& name : checkpoint.names()) {
        const auto tensor = checkpoint.find(name);
        ASSERT_TRUE(tensor);
        for (const auto byte : read_bytes(*tensor)) sum += std::to_integer<std::size_t>(byte);
      }
      std::size_t all = 0;
      for (const char byte : text) all += static_cast<unsigned char>(byte);
      ASSERT_LE(sum, all) << "seed " << seed << " round " << round;
    } catch (const Failure& failure) {
      ASSERT_EQ(failure.code(), ExitCode::unreadable_input);
    }
  }
}

}  // namespace
}  // namespace moebius::io
